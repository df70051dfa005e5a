"""What each training process does: steps, epochs, checkpoints; and what it goes on from."""

from __future__ import annotations

import copy
import tempfile
import time
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from ray import train
from ray.train.torch import get_device, prepare_model
from torch.nn.parallel import DistributedDataParallel

from lakehouse.drift import effective_dimension, uniformity
from lakehouse.storage import Lakehouse
from models.checkpoint import save_model
from models.early_stopping import EarlyStopping
from models.layout import FeatureLayout
from models.progress import SUMMED, Progress
from models.training import Trainer, TrainingConfig
from models.training_state import (
    TrainingState,
    load_state,
    random_state,
    restore_random,
    save_state,
)
from models.user_model import UserModel
from models.validation import held_out_aucs, held_out_users, settle, validation_loss
from ray_apps.examples import Items, validation_examples
from ray_apps.feed import Feed
from ray_apps.surroundings import Surroundings
from ray_apps.tables import ray_filesystem
from schemas.errors import BatchError
from schemas.stores import filesystem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from models.training import Examples

MODEL = "model"  # in the last checkpoint: the folder of the finished model


def worker(config: dict[str, Any]) -> None:
    """What each worker of Ray Train does: train from the newest checkpoint to the end."""
    context = train.get_context()
    surroundings = Surroundings(
        shard=train.get_dataset_shard("train"),
        report=lambda metrics, checkpoint: train.report(metrics, checkpoint=checkpoint),
        device=get_device(),
        rank=context.get_world_rank(),
        workers=context.get_world_size(),
    )
    loop = TrainingLoop(config, surroundings)
    loop.go_on_from(train.get_checkpoint() or _handed_over(config["checkpoint"]))
    while not loop.finished:
        loop.step()
    loop.keep()


def _handed_over(uri: str | None) -> train.Checkpoint | None:
    """The checkpoint of an attempt whose driver died."""
    if uri is None:
        return None
    filesystem, path = filesystem_of(uri)
    return train.Checkpoint(path, ray_filesystem(filesystem))


class TrainingLoop:
    """One worker's part of a training.

    Every worker takes the same steps, whatever its share of the rows; the first also measures,
    prints and decides.

    Args:
        config: ``lakehouse``, ``batch_id``, ``training``, ``steps_per_epoch``,
            ``checkpoint_seconds``.
        surroundings: of the process.
    """

    def __init__(self, config: dict[str, Any], surroundings: Surroundings) -> None:
        self.training = TrainingConfig.model_validate(config["training"])
        self.steps_per_epoch: int = config["steps_per_epoch"]
        self.checkpoint_seconds: float = config["checkpoint_seconds"]
        self.saved = time.monotonic()
        self.surroundings = surroundings
        self.rank, self.workers = surroundings.rank, surroundings.workers
        lake = Lakehouse(config["lakehouse"])
        batch = lake.batches.get(config["batch_id"])
        self.items = Items(lake, batch)
        self.device = surroundings.device
        self.tables = {fold: table.to(self.device) for fold, table in self.items.tables.items()}
        self.held_out = validation_examples(lake, batch, self.items) if self.rank == 0 else []
        self.trainer = self._trainer(FeatureLayout.model_validate_json(batch.layout or ""))
        self.progress = Progress()
        self.stopping = EarlyStopping(self.training.patience)
        self.batches: Iterator[Examples] = iter(())

    def _trainer(self, layout: FeatureLayout) -> Trainer:
        torch.manual_seed(self.training.seed)
        inner = UserModel.of(layout, self.items.codebook)
        self.start = {name: value.detach().clone() for name, value in inner.named_parameters()}
        inner.to(self.device)
        # All workers have read the same codebook; as a buffer it would be sent at every step.
        same = [f"codebook.{name}" for name, _ in inner.codebook.named_buffers()]
        DistributedDataParallel._set_params_and_buffers_to_ignore_for_model(inner, same)  # noqa: SLF001 - no public name
        model = prepare_model(inner) if self.workers > 1 else inner
        steps = self.steps_per_epoch * self.training.epochs
        return Trainer(model, inner, self.training, steps, self.rank)

    @property
    def finished(self) -> bool:
        """Whether there is nothing left to learn."""
        return self.progress.stopped or self.progress.epochs == self.training.epochs

    def go_on_from(self, checkpoint: train.Checkpoint | None) -> None:
        """Take up the state of a checkpoint, and open the stream of examples.

        Everything is as it was but the order of the examples, which is drawn anew: Ray Data cannot
        be told to go on in the middle of a pass.
        """
        if checkpoint is not None:
            with checkpoint.as_directory() as folder:
                state = load_state(folder, self.trainer)
            self.progress, self.stopping = state.progress, state.stopping
            if self.rank < len(state.random):
                restore_random(state.random[self.rank], self.trainer.rng)
            self._say(f"goes on after {self.trainer.steps} steps")
        self.feed = Feed(
            self.surroundings.shard,
            self.items,
            max(1, self.training.batch_size // self.workers),
            np.random.default_rng([self.training.seed, self.rank, 1, self.trainer.steps]),
            others=self.workers > 1,
        )
        self.batches = iter(self.feed)

    def step(self) -> None:
        """Take one step; after the last of an epoch, measure; save where it is time."""
        began = time.monotonic()
        examples = next(self.batches, None)
        if examples is None:
            raise BatchError("no training example has a target that other users know")
        waited = time.monotonic() - began
        loss = self.trainer.step(examples.to(self.device), self.tables[examples.fold])
        seconds = time.monotonic() - began
        norm = self.trainer.gradient_norm
        self.progress.step(loss, norm, len(examples), waited, seconds)
        ended = self.progress.steps == self.steps_per_epoch
        if ended:
            self._end_epoch()
        if self._agree(save=self._due(ended)) and not self.finished:
            self.save()

    def _due(self, ended: bool) -> bool:  # noqa: FBT001
        """Whether it is time to save; 0 seconds mean after each epoch."""
        if self.checkpoint_seconds == 0:
            return ended
        return time.monotonic() - self.saved >= self.checkpoint_seconds

    def _agree(self, *, save: bool) -> bool:
        """Tell the others what the first worker has decided, and the feed where all have ended.

        Returns:
            whether all of them save now: Ray Train waits until each has reported.
        """
        first = self.rank == 0
        said = [first and save, first and self.progress.stopped, self.feed.ended]
        saves, stops, ended = self.surroundings.sums([float(one) for one in said])
        self.progress.stopped = bool(stops)
        self.feed.all_ended = ended == self.workers
        return bool(saves)

    def _end_epoch(self) -> None:
        """Measure, on the first worker, how the users do who are held out."""
        sums = self.surroundings.sums([self.progress.sums[name] for name in SUMMED])
        together = dict(zip(SUMMED, sums, strict=True))
        rate = self.trainer.optimizer.param_groups[0]["lr"]
        measured: dict[str, Any] = {"learning_rate": rate, "validation_loss": None, "auc": None}
        if self.rank == 0 and self.held_out:
            model = self._model()
            aucs = held_out_aucs(model, self.held_out, self.items.tables, self.training.seed)
            self.stopping.see(self.progress.epochs + 1, aucs, model)
            self.progress.stopped = self.stopping.over(self.progress.epochs + 1)
            measured["auc"] = float(aucs.mean())
            measured["validation_loss"] = validation_loss(
                model, self.held_out, self.items.tables, self.training
            )
            vectors = held_out_users(model, self.held_out)
            measured["effective_dimension"] = effective_dimension(vectors)
            measured["uniformity"] = uniformity(vectors)
        self._say(
            line(self.progress.finish_epoch(together, self.workers, **measured), self.training)
        )

    def _model(self) -> UserModel:
        """The model where the held-out users are: on the CPU."""
        inner = self.trainer.inner
        return inner if self.device.type == "cpu" else copy.deepcopy(inner).cpu()

    def save(self, model: UserModel | None = None, **metrics: Any) -> None:
        """Report a checkpoint; all workers must, at the same step.

        Args:
            model: the finished one, at the end.
            metrics: of the finished model.
        """
        random = self.surroundings.of_all(random_state(self.trainer.rng))
        if self.rank > 0:
            self.surroundings.report({}, None)
        else:
            with tempfile.TemporaryDirectory() as folder:
                state = TrainingState(self.progress, self.stopping, random)
                save_state(folder, self.trainer, state)
                if model is not None:
                    save_model(model, f"{folder}/{MODEL}")
                self.surroundings.report(metrics, train.Checkpoint.from_directory(folder))
        self.saved = time.monotonic()

    def keep(self) -> None:
        """Report the finished model; all workers must."""
        if self.rank > 0:
            self.save()
            return
        model, settled = self.settled()
        best = self.stopping.epoch or None
        self.save(model, history=self.progress.history, best_epoch=best, **settled)

    def settled(self) -> tuple[UserModel, dict[str, Any]]:
        """The finished model, and how far it has moved back towards its start.

        After its last epoch the schedule has come to rest, and the last weights are taken. Where
        training was stopped early it had not, and the weights of the best epoch are. Either way
        they move back towards the start as far as nobody who is held out is worse off.
        """
        model = copy.deepcopy(self._model())
        if self.progress.stopped:
            model.load_state_dict(self.stopping.weights)

        def aucs() -> np.ndarray:
            return held_out_aucs(model, self.held_out, self.items.tables, self.training.seed)

        return model, settle(model, self.start, aucs)

    def _say(self, what: str) -> None:
        if self.rank == 0:
            print(f"train: {what}", flush=True)  # noqa: T201


def line(entry: dict[str, Any], training: TrainingConfig) -> str:
    """An epoch in one line."""
    said = f"epoch {entry['epoch']} of {training.epochs}, loss {entry['loss']:.4f}, "
    if entry["auc"] is None:
        said += "nobody is held out, "
    else:
        said += f"of held-out users {entry['validation_loss']:.4f}, their AUC {entry['auc']:.4f}, "
    return said + f"{entry['users_per_second']:,.0f} users/s, {entry['waiting']:.0%} waiting"

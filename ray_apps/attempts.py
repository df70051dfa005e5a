"""Where the checkpoints of a training lie, and which of them the next attempt goes on from.

::

    CHECKPOINTS/BATCH/SETTINGS/ATTEMPT/CHECKPOINT/state.json

``SETTINGS`` is a hash of all that must be the same to go on. Each attempt is a run of Ray Train
with a folder of its own: Ray would go on in the folder of another by itself, but it rewrites its
list of checkpoints in place, and one that was cut off in that moment could never be opened again.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from importlib import metadata
from typing import TYPE_CHECKING

from models.training_state import STATE, steps_of
from schemas.stores import filesystem_of

if TYPE_CHECKING:
    from lakehouse.batch import Batch
    from models.training import TrainingConfig

TRAINED_ON = ("track_vectors", "training_vectors", "training_examples")


class Attempts:
    """The attempts to train the model of a batch with some settings.

    Args:
        root: folder or URI of all checkpoints.
        batch: whose model is trained.
        training: how.
    """

    def __init__(self, root: str, batch: Batch, training: TrainingConfig) -> None:
        self.filesystem, path = filesystem_of(root)
        self._batch = f"{path.rstrip('/')}/{batch.batch_id}"
        self._run = f"{self._batch}/{_digest(batch, training)}"

    @property
    def uri(self) -> str:
        """Folder of the attempts."""
        return self._uri(self._run)

    @property
    def place(self) -> str:
        """The same folder as the filesystem names it."""
        return self._run

    def newest(self) -> str | None:
        """URI of the whole checkpoint that is farthest on; None where there is none."""
        sidecars = self.filesystem.glob(f"{self._run}/*/*/{STATE}")
        folders = [self._uri(place.rsplit("/", 1)[0]) for place in sidecars]
        steps = {folder: steps_of(folder) for folder in folders}
        whole = {folder: count for folder, count in steps.items() if count is not None}
        return max(whole, key=lambda folder: whole[folder], default=None)

    def begin(self) -> tuple[str, str | None]:
        """The name of a new attempt, and the checkpoint that it goes on from.

        Attempts that are of no use any more are removed.
        """
        checkpoint = self.newest()
        for place in self.filesystem.glob(f"{self._run}/*"):
            if checkpoint is None or not checkpoint.startswith(f"{self._uri(place)}/"):
                self.filesystem.rm(place, recursive=True)
        return uuid.uuid4().hex[:12], checkpoint

    def forget(self) -> None:
        """Remove all checkpoints of the batch, whatever their settings: its model is kept."""
        if self.filesystem.exists(self._batch):
            self.filesystem.rm(self._batch, recursive=True)

    def _uri(self, path: str) -> str:
        return str(self.filesystem.unstrip_protocol(path)).removeprefix("file://")


def _digest(batch: Batch, training: TrainingConfig) -> str:
    """What has to be the same to go on: settings, tables, features and the code's version."""
    told = {
        "training": training.model_dump(mode="json"),
        "tables": {table: batch.tables.get(table) for table in TRAINED_ON},
        "layout": batch.layout,
        "version": metadata.version("tasteprint"),
    }
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:12]

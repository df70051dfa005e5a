from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa
import pytest

from jobs.cooccurrence import FOLDS
from lakehouse.batches import BatchRegistry
from lakehouse.storage import Lakehouse
from models.checkpoint import save_codebook
from models.codebook import fit_codebook
from models.features import unit
from models.layout import VECTOR_SIZE, build_layout
from schemas.arrow import list_column
from schemas.contract import contract

AS_OF = datetime(2026, 3, 1, tzinfo=UTC)
USERS, ITEMS, BUCKETS = 60, 20, 4
LAYOUT = build_layout({"surface": ["home"], "country": ["DE", "SE"]})
IDS = [f"t{number:02d}" for number in range(ITEMS)]


class World:
    """A batch whose features are built, made by hand: who likes an item goes on to the next one."""

    def __init__(self, folder: str, users: int = USERS) -> None:
        self.lake = Lakehouse(folder)
        self.registry = BatchRegistry(self.lake)
        self.layout = LAYOUT
        rng = np.random.default_rng(7)
        self.vectors = unit(rng.standard_normal((ITEMS, VECTOR_SIZE)).astype(np.float32))
        self.users = [f"u{number:02d}" for number in range(users)]
        self.features = np.zeros((users, LAYOUT.width), np.float32)
        self.present = np.zeros((users, len(LAYOUT.groups)), np.float32)
        for user in range(users - 1):  # of the last one nothing is known
            for name in ("taste_7d", "taste_180d"):
                self.features[user, LAYOUT[name].slice] = self.vectors[user % ITEMS]
                self.present[user, LAYOUT.names.index(name)] = 1
        self.batch_id = self.registry.open(AS_OF, {}, "s", "v").batch_id
        codebook = fit_codebook(self.vectors, np.full(ITEMS, 3), seed=0)
        save_codebook(codebook, self.lake.model_uri(self.batch_id))
        other = self.registry.open(AS_OF, {}, "s", "v").batch_id  # its rows are nobody's business
        for batch_id in (other, self.batch_id):
            tables = {table: self._append(table, rows) for table, rows in self._tables(batch_id)}
            layout = LAYOUT.model_dump_json()
            self.registry.record(batch_id, tables=tables, layout=layout)

    @property
    def batch(self):
        return self.registry.get(self.batch_id)

    @property
    def argv(self) -> list[str]:
        return ["--lakehouse", self.lake.uri, "--batch-id", self.batch_id]

    def _append(self, table: str, rows: pa.Table) -> int:
        self.lake.append(table, rows.select(contract(table).column_names))
        return self.lake.open(table).version()

    def _tables(self, batch_id: str):
        def repeated(value, count: int) -> list:
            return [value] * count

        items = {
            "batch_id": repeated(batch_id, ITEMS),
            "item_id": IDS,
            "vector": list_column(self.vectors),
            "support": repeated(3, ITEMS),
            "source": repeated("blend", ITEMS),
        }
        yield "track_vectors", pa.table(items)
        folds = [pa.table({**items, "fold": repeated(fold, ITEMS)}) for fold in range(FOLDS)]
        yield "training_vectors", pa.concat_tables(folds)
        count = len(self.users)
        users = {
            "batch_id": repeated(batch_id, count),
            "user_id": self.users,
            "bucket": [number % BUCKETS for number in range(count)],
            "as_of": repeated(AS_OF, count),
            "features": list_column(self.features),
            "present": list_column(self.present),
        }
        since = {"played_between": repeated([], count), "decayed_plays": repeated([], count)}
        yield "user_features", pa.table({**users, **since})
        example = {
            "as_of": repeated(AS_OF - timedelta(days=9), count),
            # A tenth, and not always those of the same item.
            "validation": [(number + number // ITEMS) % 10 == 0 for number in range(count)],
            "fold": [number % FOLDS for number in range(count)],
            "weight": repeated(0.5, count),
            "targets": [[IDS[(number + 1) % ITEMS]] for number in range(count)],
        }
        early = pa.table({**users, **example})
        late = pa.table({**users, **example, "as_of": repeated(AS_OF - timedelta(days=8), count)})
        yield "training_examples", pa.concat_tables([early, late])


@pytest.fixture(scope="module")
def new_world(tmp_path_factory):
    """A function that makes a batch of its own."""
    return lambda **size: World(str(tmp_path_factory.mktemp("world") / "lake"), **size)


@pytest.fixture(scope="module")
def world(new_world) -> World:
    return new_world()

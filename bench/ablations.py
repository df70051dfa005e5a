"""What each part of the user model is worth: trained without it, and measured like the whole.

::

    python bench/ablations.py --lakehouse URI --batch live
    python bench/ablations.py --lakehouse URI --variants '["as it ships", "without interests"]'

Every variant is trained in this process on the batch's examples and settled as
``ray_apps/train_user_model.py`` does, embeds the cohort of Tables 1 and 3, and is asked their
questions. A group that a variant lacks is absent in training and when users are embedded; codes and
popularity are zero on the items' side too. The batch is left alone. Each variant is a line of JSON:
AUC and accuracy through the head and AUC of dot products, all with negatives by popularity; nDCG@50
of neighbours; the effective dimension of the users' vectors and their uniformity on the sphere.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import torch
from pydantic import Field

from evaluation.clusters import read_clusters
from evaluation.cohort import Cohort, read_cohort
from evaluation.neighbours import nearest_first
from evaluation.protocols.neighbourhoods import ndcgs
from evaluation.scores import FIRST, ask
from lakehouse.drift import effective_dimension, uniformity
from lakehouse.storage import Lakehouse
from models.baselines import Representation
from models.layout import HALF_LIVES, INTERESTS, VECTOR_SIZE, FeatureLayout
from models.training import Examples, ItemTable, Trainer, TrainingConfig
from models.user_model import UserModel
from models.validation import held_out_aucs, settle
from ray_apps.examples import Items, Rows, draw_batches, validation_examples
from schemas.arrow import matrix
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from evaluation.clusters import Clusters
    from lakehouse.batch import Batch

TASTES = (*HALF_LIVES, "creators", "onboarding", INTERESTS)
HABITS = ("amounts", "hour", "weekday", "kind", "surface", "device")
TOLD = ("country", "language", "age", "subscription", "account_age")


@dataclass(frozen=True)
class Variant:
    """What is other than in the model that ships.

    Attributes:
        training: settings of training that differ.
        hidden: groups that are absent.
        items: columns of what describes items that are zero.
        trained: whether it is trained at all.
        settled: whether it moves back towards its start as far as held-out users allow.
    """

    training: Mapping[str, Any] = field(default_factory=dict)
    hidden: tuple[str, ...] = ()
    items: slice = field(default_factory=lambda: slice(0, 0))
    trained: bool = True
    settled: bool = True


VARIANTS = {
    "as it ships": Variant(),
    "never trained": Variant(trained=False),
    "not settled": Variant(settled=False),
    "next plays alone": Variant(training={"reconstruction": 0.0}),
    "reconstruction alone": Variant(training={"ranking": 0.0}, settled=False),
    "nothing hidden in training": Variant(training={"hide": 0.0}),
    "without interests": Variant(hidden=(INTERESTS,), items=slice(VECTOR_SIZE, -1)),
    "without popularity": Variant(items=slice(-1, None)),
    "without item vectors": Variant(hidden=TASTES),
    "without favourite creators": Variant(hidden=("creators",)),
    "without onboarding": Variant(hidden=("onboarding",)),
    "without habits": Variant(hidden=HABITS),
    "without what users tell": Variant(hidden=TOLD),
}


class Ablations(Settings):
    """Train and measure variants of a batch's user model."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch: str = "live"
    """A batch whose features and examples are there: id, live or legacy."""
    variants: tuple[str, ...] = tuple(VARIANTS)
    """Which, by name."""
    training: TrainingConfig = TrainingConfig()
    """How the whole is fitted."""
    horizon_days: float = 7.0
    """Days after as_of that users are asked about."""
    users: int = Field(2_000, ge=10)
    """Users of the cohort at most."""


class Lab:
    """A batch's examples and cohort in memory, and what variants are asked."""

    def __init__(self, lake: Lakehouse, batch: Batch, args: Ablations) -> None:
        self.items = Items(lake, batch)
        fitted = ~pc.field("validation")
        table = lake.dataset("training_examples", batch).to_table(filter=fitted)
        self.rows = self.items.rows(table)
        self.held_out = validation_examples(lake, batch, self.items)
        self.layout = FeatureLayout.model_validate_json(batch.layout or "")
        self.cohort = read_cohort(lake, batch, args.horizon_days, args.users, seed=0)
        self.clusters: list[Clusters] = read_clusters(lake, batch, self.cohort, args.horizon_days)
        self.features, self.present = _feature_rows(lake, batch, self.cohort)
        self.known = _described(lake, batch, self.cohort, self.items)

    def measure(self, variant: Variant, config: TrainingConfig) -> dict[str, float]:
        """Train, embed and ask."""
        config = config.model_copy(update=dict(variant.training))
        model = self.train(variant, config)
        bits = self._without(variant.hidden, self.present)
        with torch.inference_mode():
            users = model.users(self.features, bits).numpy()
            items = model.items(_zeroed(self.known, variant.items)).numpy()
        spread = {
            "effective dimension": effective_dimension(users),
            "uniformity": uniformity(users),
        }
        return {**self._table_1(users, items), **self._table_3(users), **spread}

    def train(self, variant: Variant, config: TrainingConfig) -> UserModel:
        """A model as the variant has it, in evaluation mode."""
        torch.manual_seed(config.seed)
        model = UserModel.of(self.layout, self.items.codebook).eval()
        if not variant.trained:
            return model
        start = {name: value.detach().clone() for name, value in model.named_parameters()}
        tables = {
            fold: replace(table, known=_zeroed(table.known, variant.items))
            for fold, table in self.items.tables.items()
        }
        bits = self._without(variant.hidden, torch.from_numpy(self.rows.present)).numpy()
        self._fit(model, replace(self.rows, present=bits), tables, config)
        held_out = [
            replace(part, present=self._without(variant.hidden, part.present))
            for part in self.held_out
        ]
        if variant.settled:
            settle(model, start, lambda: held_out_aucs(model, held_out, tables, config.seed))
        return model.eval()

    def _fit(
        self, model: UserModel, rows: Rows, tables: dict[int, ItemTable], config: TrainingConfig
    ) -> None:
        epoch = max(1, round(float(rows.weight.sum()) / config.batch_size))
        trainer = Trainer(model, model, config, epoch * config.epochs)
        rng = np.random.default_rng([config.seed, 1])
        batches: list[Examples] = []
        for _ in range(epoch * config.epochs):
            batches = batches or draw_batches(rows, np.arange(len(rows)), config.batch_size, rng)
            examples = batches.pop()
            trainer.step(examples, tables[examples.fold])

    def _without(self, hidden: Sequence[str], present: torch.Tensor) -> torch.Tensor:
        kept = torch.tensor([float(name not in hidden) for name in self.layout.names])
        return present * kept

    def _table_1(self, users: np.ndarray, items: np.ndarray) -> dict[str, float]:
        asked, question = self.cohort.question("popularity")
        answers = ask(Representation(users[asked], items), question, seeds=1, rank=False)
        return {metric: float(np.nanmean(values)) for metric, values in answers.items()}

    def _table_3(self, users: np.ndarray) -> dict[str, float]:
        near = nearest_first(users, np.arange(len(users)), FIRST)
        return {
            f"ndcg@{FIRST}, {one.kind}": float(np.nanmean(ndcgs(one, near)))
            for one in self.clusters
        }


def main(argv: Sequence[str] | None = None) -> None:
    """Read once, then variant after variant."""
    args = Ablations.parse(argv)
    lake = Lakehouse(args.lakehouse)
    lab = Lab(lake, lake.batches.get(args.batch), args)
    for name in args.variants:
        measured = lab.measure(VARIANTS[name], args.training)
        rounded = {metric: round(value, 4) for metric, value in measured.items()}
        sys.stdout.write(json.dumps({"variant": name, **rounded}, ensure_ascii=False) + "\n")
        sys.stdout.flush()


def _feature_rows(
    lake: Lakehouse, batch: Batch, cohort: Cohort
) -> tuple[torch.Tensor, torch.Tensor]:
    rows = lake.read("user_features", batch, ["user_id", "features", "present"])
    place = pc.index_in(pa.array(cohort.user_ids), rows["user_id"].combine_chunks())
    rows = rows.take(place)
    features, present = (torch.tensor(matrix(rows[name])) for name in ("features", "present"))
    return features, present


def _described(lake: Lakehouse, batch: Batch, cohort: Cohort, items: Items) -> torch.Tensor:
    rows = lake.read("track_vectors", batch, ["item_id", "support"])
    place = pc.index_in(pa.array(cohort.item_ids), rows["item_id"].combine_chunks())
    support = torch.tensor(rows["support"].take(place).to_numpy())
    known: torch.Tensor = items.codebook(torch.tensor(cohort.vectors), support)
    return known


def _zeroed(known: torch.Tensor, columns: slice) -> torch.Tensor:
    found = known.clone()
    found[:, columns] = 0.0
    return found


if __name__ == "__main__":
    main()

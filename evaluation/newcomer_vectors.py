"""Vectors of newcomers after any number of plays, as serving computes them for one user.

The same ``FeatureBuilder`` over the batch's item vectors, and the same ``UserPredictor``: groups of
which nothing is known are absent, be it all but what the user told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from evaluation.contenders import MODEL, popularity_by
from evaluation.places import item_places
from models.baselines import Representation
from models.baselines.baseline import padded
from models.events import Events
from models.features import FeatureBuilder, ItemSpace, creator_vectors, unit
from models.profiles import Told
from models.sums import weighted_sums
from models.words import group_columns

if TYPE_CHECKING:
    from collections.abc import Iterator

    from evaluation.catalogue import ByCountry, Catalogue
    from evaluation.newcomers import Newcomers
    from lakehouse.batch import Batch
    from lakehouse.storage import Lakehouse
    from models.cuts import Cuts
    from models.events import Rows
    from models.layout import FeatureLayout
    from models.predictor import UserPredictor
    from models.user_model import UserModel


@dataclass(frozen=True)
class NewcomerVectors:
    """What is needed to see newcomers as each contender does.

    Attributes:
        catalogue: the items.
        countries: plays by country; None where nobody tells any.
        predictor: the batch's model.
        builder: of feature rows.
        events: (P,) the newcomers' plays, each of its user.
        told: what each newcomer told.
        placed: (I, size) float32, where the model places the items.
    """

    catalogue: Catalogue
    countries: ByCountry | None
    predictor: UserPredictor
    builder: FeatureBuilder
    events: Events
    told: Told
    placed: np.ndarray

    @classmethod
    def of(
        cls,
        lake: Lakehouse,
        batch: Batch,
        people: Newcomers,
        catalogue: Catalogue,
        countries: ByCountry | None,
    ) -> NewcomerVectors:
        """Load the batch's model, and look up the plays' words."""
        from models.predictor import UserPredictor  # and PyTorch, which takes seconds

        predictor = UserPredictor(batch.model_uri or "")
        layout = predictor.model.config.layout
        return cls(
            catalogue=catalogue,
            countries=countries,
            predictor=predictor,
            builder=feature_builder(predictor.model, catalogue),
            events=events_of(people, catalogue, layout),
            told=told_by(people, layout),
            placed=item_places(lake, batch, catalogue.items.to_numpy()),
        )

    def at(self, cuts: Cuts) -> Iterator[tuple[str, Representation]]:
        """Each contender's vectors of the users at their cuts, (C, size), and of all items.

        Averages are there only where somebody has something to average.
        """
        rows = self._rows(cuts)
        size = self.placed.shape[1]
        users = self.predictor.embed(rows.features, rows.present)
        yield MODEL, Representation(users, self.placed)
        nobody = np.zeros(len(cuts.user), np.int64)
        yield "popularity", popularity_by(self.catalogue.plays[:, None], nobody, size)
        if self.countries is not None:
            group = self.countries.group[cuts.user]
            yield "country", popularity_by(self.countries.plays, group, size)
        items = padded(self.catalogue.vectors, size)
        for name, means in self._averages(cuts, rows):
            if means.any():
                yield name, Representation(padded(means, size), items)

    def _rows(self, cuts: Cuts) -> Rows:
        moments = self.events.at[cuts.at]  # of the first play that is asked about
        query, play = cuts.history
        return self.builder.rows(
            self.events.take(play, query), self.told.at(cuts.user, moments), moments
        )

    def _averages(self, cuts: Cuts, rows: Rows) -> Iterator[tuple[str, np.ndarray]]:
        layout = self.builder.layout
        query, play = cuts.history
        item = self.events.item[play]
        known = item >= 0
        ones = np.ones(known.sum(), np.float32)
        total = weighted_sums(
            self.catalogue.vectors, item[known], query[known], ones, len(cuts.user)
        )
        yield "picks", rows.features[:, layout["onboarding"].slice]
        yield "average", unit(total)
        yield "average_7d", rows.features[:, layout["taste_7d"].slice]


def feature_builder(model: UserModel, catalogue: Catalogue) -> FeatureBuilder:
    """What makes the feature rows that a model reads, over the batch's vectors."""
    import torch

    vectors, owner = catalogue.vectors, catalogue.creator_of_item
    creators = creator_vectors(vectors, owner, len(catalogue.creators))
    codes = (model.codebook.codes(torch.from_numpy(rows)).numpy() for rows in (vectors, creators))
    return FeatureBuilder(model.config.layout, ItemSpace(vectors, creators, *codes))


def events_of(people: Newcomers, catalogue: Catalogue, layout: FeatureLayout) -> Events:
    """All plays as features see them, each counting for its user."""
    kind, surface, device = (
        group_columns(people.habits[column], layout[group])
        for column, group in (("item_kind", "kind"), ("surface", "surface"), ("device", "device"))
    )
    return Events(
        query=people.user,
        item=people.item,
        creator=np.append(catalogue.creator_of_item, -1)[people.item],
        at=people.at,
        weight=people.weight,
        kind=kind,
        surface=surface,
        device=device,
    )


def told_by(people: Newcomers, layout: FeatureLayout) -> Told:
    """What the newcomers told, picks included."""
    ids = pa.array(people.user_ids)
    profiles = {name: people.profiles[name] for name in people.profiles.column_names}
    columns = {"user_id": ids.dictionary_encode(), **profiles, **people.picks.columns()}
    return Told.of_rows(pa.table(columns), ids, layout)

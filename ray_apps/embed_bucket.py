"""What an embedding worker does with a bucket: read, embed, write, record.

No vector leaves the process but into its file. The bucket is the unit of retry: one that cannot be
read or embedded is tried again, then set aside with the reason, and the worker goes on.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import torch

from lakehouse.files import table_file
from lakehouse.storage import Lakehouse
from models.layout import FeatureLayout
from models.predictor import UserPredictor
from ray_apps.ahead import ahead
from ray_apps.bucket_plan import EMBEDDINGS, FEATURES, BucketPlan, Record
from ray_apps.carried_vectors import CarriedVectors
from ray_apps.embed_metrics import EmbedMetrics
from ray_apps.feature_rows import FeatureBuckets
from schemas.arrow import list_column
from schemas.contract import contract

if TYPE_CHECKING:
    from ray_apps.bucket_plan import Precision
    from ray_apps.carried_vectors import Before
    from ray_apps.feature_rows import FeatureRows

RETRIES = 1
PAUSE = 0.5  # seconds before another attempt
AHEAD = 1  # parts of a file that are read while one is embedded
TRIED_ON = 4_096  # rows on which a worker finds how many it embeds at once
MB = 2**20


class EmbedBucket:
    """Loads the model once, then turns buckets into files; what Ray Data calls an actor.

    May be repeated, and by two processes at once: a bucket gives the same file, put in place in one
    step.

    Args:
        lakehouse: its URI.
        batch_id: the batch.
        precision: of the large products.
        device: where it computes.
        threads: on how many it computes; else what the environment says, which may be every core
            for each of the workers that share them.
        memory_mb: what computing may take.
        carry: whether vectors of users whose features are as before are kept.
    """

    def __init__(
        self,
        lakehouse: str,
        batch_id: str,
        *,
        precision: Precision = "float32",
        device: str = "cpu",
        threads: int | None = None,
        memory_mb: int = 256,
        carry: bool = True,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.lake = Lakehouse(lakehouse)
        self.batch = self.lake.batches.to_write(batch_id)
        self.plan = BucketPlan(self.lake, self.batch, precision)
        layout = FeatureLayout.model_validate_json(self.batch.layout or "")
        uri = self.batch.model_uri or ""
        self.predictor = UserPredictor(uri, layout, device=device, precision=precision)
        self.speeds: dict[int, float] = {}
        self._memory = memory_mb * MB
        self._carried = CarriedVectors.of(self.lake, self.batch, precision) if carry else None
        self._features = FeatureBuckets(
            self.lake.dataset(FEATURES, self.batch), one_to_a_file=self.plan.one_to_a_file
        )
        self._metrics = EmbedMetrics(batch_id)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Embed one bucket.

        Args:
            row: ``bucket``, its number, and ``size``, bytes of its feature rows.

        Returns:
            ``bucket``; ``rows`` and ``embedded``, of users; ``read`` and ``written``, bytes;
            ``seconds`` and ``core_seconds``, of all threads; ``retries``; and ``reason``, why it
            is set aside, or nothing.
        """
        bucket, began, busy = int(row["bucket"]), time.perf_counter(), time.process_time()
        record, reason, retries = self._embed_or_say_why(bucket)
        told = {
            **record.model_dump(include={"bucket", "rows", "embedded", "written"}),
            "read": 0 if reason else int(row["size"]),
            "seconds": time.perf_counter() - began,
            "core_seconds": time.process_time() - busy,
            "retries": retries,
            "reason": reason,
        }
        self._metrics.count(told)
        return told

    def _embed_or_say_why(self, bucket: int) -> tuple[Record, str, int]:
        """What came of a bucket, why it is set aside if it is, and how often it was retried."""
        retries = 0
        while True:
            try:
                return self.embed(bucket), "", retries
            except Exception as error:  # noqa: BLE001 - whatever it is, the others can be embedded
                if retries == RETRIES:
                    return Record(bucket=bucket), f"{type(error).__name__}: {error}", retries
            retries += 1
            time.sleep(PAUSE)

    def embed(self, bucket: int) -> Record:
        """Read, embed, write and record a bucket.

        Raises:
            ValueError: a vector has another length, or is not finite.
            OSError: a file cannot be read.
        """
        before = self._carried.open(bucket) if self._carried else None
        if before is not None and before.files and before.same(self._features.who(bucket)):
            rows = before.rows.num_rows
            record = Record(bucket=bucket, rows=rows, files=before.files)
        else:
            record = self._written(bucket, before)
        self.plan.record(record)
        return record

    def _written(self, bucket: int, before: Before | None) -> Record:
        name, embedded = self.plan.file(bucket), 0
        with table_file(self.lake, EMBEDDINGS, name) as file:
            for part in ahead(self._features.rows(bucket), AHEAD):
                rows, fresh = self._rows(part, before)
                file.write(rows)
                embedded += fresh
        size = self.lake.filesystem.info(f"{self.lake.table_uri(EMBEDDINGS)}/{name}")["size"]
        return Record(bucket=bucket, rows=file.rows, embedded=embedded, files=(name,), written=size)

    def _rows(self, part: FeatureRows, before: Before | None) -> tuple[pa.Table, int]:
        """Feature rows as rows of ``user_embeddings``, and how many of them were embedded."""
        features, present = part.features, part.present
        as_of = part.who["as_of"].cast(pa.timestamp("us", tz="UTC"))
        fresh = len(features)
        if before is None:
            vectors = self._embed(features, present)
        else:
            place = before.find(part.who)
            changed = place < 0
            fresh = int(changed.sum())
            vectors, as_of = before.at(place, as_of)
            vectors[changed] = self._embed(features[changed], present[changed])
        same = {"batch_id": self.batch.batch_id, "source": "batch"}
        columns = {
            **{name: pa.repeat(value, len(features)) for name, value in same.items()},
            **{name: part.who[name] for name in ("user_id", "bucket", "fingerprint")},
            "as_of": as_of,
            "embedding": list_column(vectors),
            "status": pa.array(self.predictor.status(present).tolist()),
        }
        schema = contract(EMBEDDINGS).arrow_schema
        return pa.Table.from_arrays([columns[name] for name in schema.names], schema=schema), fresh

    def _embed(self, features: np.ndarray, present: np.ndarray) -> np.ndarray:
        """Vectors that may be published, (B, size)."""
        if not self.speeds and len(features):
            tried = features[:TRIED_ON], present[:TRIED_ON]
            self.speeds = self.predictor.choose_rows_at_once(*tried, self._memory)
        vectors = self.predictor.embed(features, present)
        if not np.isfinite(vectors).all():
            bad = int((~np.isfinite(vectors).all(axis=1)).sum())
            raise ValueError(f"{bad:,} of {len(vectors):,} rows gave vectors that are not finite")
        return vectors

"""Embed every user of a batch with Ray Data.

::

    python ray_apps/batch_embed.py --lakehouse URI --batch-id ID
    ray job submit --working-dir . -- python ray_apps/batch_embed.py …

A row of the Ray dataset names a bucket of users; an actor reads that bucket's feature rows, embeds
them and writes one Parquet file, whole or not at all. After a crash the same command goes on with
the buckets that have no file. When all are there the gate looks at them, and one Delta commit makes
them visible.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from lakehouse.gate import import_ahead
from lakehouse.publish import publish_files
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from ray_apps.session import ray_session
from schemas.arrow import list_column, matrix
from schemas.contract import contract
from schemas.errors import BatchError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Sequence

    from lakehouse.batch import Batch

TABLE = "user_embeddings"
ROWS_AT_ONCE = 8192


class BatchEmbed(Settings):
    """Embed every user of a batch: read, infer, write a bucket at a time, then one commit."""

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch, whose model is trained."""
    actors: int = 2
    """Processes that embed."""
    cpus_per_actor: float = 0.5
    """CPUs of each; below the machine's, or none are left for reading."""


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Embed the buckets that are missing, then audit and publish all."""
    args = BatchEmbed.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "embed")
    batch = lake.batches.to_write(args.batch_id)
    if batch.model_uri is None:
        raise BatchError(f"batch {batch.batch_id} has no model: run ray_apps/train_user_model.py")
    features = lake.dataset("user_features", batch)
    buckets = pc.unique(features.to_table(columns=["bucket"])["bucket"]).to_pylist()
    missing = [
        bucket
        for bucket in sorted(buckets)
        if not lake.filesystem.exists(f"{lake.table_uri(TABLE)}/{bucket_file(batch, bucket)}")
    ]
    import_ahead()  # while Ray starts
    if missing:
        with ray_session():
            embed_buckets(lake, batch, missing, args)
    rows = publish_files(
        lake, TABLE, [bucket_file(batch, bucket) for bucket in sorted(buckets)], batch
    )
    lake.batches.record(batch.batch_id, recipe={"embed": args.recipe()})
    clock.finish(
        batch.batch_id,
        rows_in=features.count_rows(),
        rows_out=rows,
        buckets=len(buckets),
        buckets_done_before=len(buckets) - len(missing),
    )


def bucket_file(batch: Batch, bucket: int) -> str:
    """Where a bucket's vectors lie below the table's folder.

    Another model, or other features, write other files.
    """
    made_of = f"{(batch.model_sha256 or '')[:12]}-{batch.version_of('user_features')}"
    return f"batch_id={batch.batch_id}/bucket-{bucket:05d}-{made_of}.parquet"


def embed_buckets(lake: Lakehouse, batch: Batch, buckets: list[int], args: BatchEmbed) -> None:
    """Embed and write some buckets; each is one unit of work and of retry."""
    import ray

    rows = ray.data.from_items(
        [{"bucket": bucket} for bucket in buckets], override_num_blocks=len(buckets)
    )
    done = rows.map(
        EmbedBucket,
        fn_constructor_kwargs={"lakehouse": lake.uri, "batch_id": batch.batch_id},
        compute=ray.data.ActorPoolStrategy(size=min(args.actors, len(buckets))),
        num_cpus=args.cpus_per_actor,
    )
    total = 0
    for finished, row in enumerate(done.iter_rows(), start=1):
        total += row["rows"]
        print(  # noqa: T201
            f"embed: bucket {finished} of {len(buckets)}, {total:,} users", flush=True
        )


class EmbedBucket:
    """The actor: loads the model once, then turns buckets into files.

    May be repeated: the same bucket gives the same file, put in place in one step.
    """

    def __init__(self, lakehouse: str, batch_id: str) -> None:
        from models.layout import FeatureLayout
        from models.predictor import UserPredictor

        self.lake = Lakehouse(lakehouse)
        self.batch = self.lake.batches.to_write(batch_id)
        layout = FeatureLayout.model_validate_json(self.batch.layout or "")
        self.predictor = UserPredictor(self.batch.model_uri or "", layout)
        self.features = self.lake.dataset("user_features", self.batch)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Embed one bucket.

        Args:
            row: ``bucket``, its number.

        Returns:
            ``bucket`` and ``rows``, how many users it has.
        """
        bucket = int(row["bucket"])
        place = f"{self.lake.table_uri(TABLE)}/{bucket_file(self.batch, bucket)}"
        schema = contract(TABLE).arrow_schema
        rows = 0
        columns = ["user_id", "bucket", "as_of", "features", "present"]
        of_bucket = self.features.to_batches(
            columns=columns, filter=pc.field("bucket") == bucket, batch_size=ROWS_AT_ONCE
        )
        with self.lake.whole_file(place) as file, pq.ParquetWriter(file, schema) as writer:
            for batch in of_bucket:
                if batch.num_rows:
                    writer.write_batch(self.embed(batch))
                    rows += batch.num_rows
        return {"bucket": bucket, "rows": rows}

    def embed(self, rows: pa.RecordBatch) -> pa.RecordBatch:
        """Feature rows to rows of ``user_embeddings``."""
        features, present = matrix(rows["features"]), matrix(rows["present"])
        count = rows.num_rows
        columns = {
            "batch_id": pa.array([self.batch.batch_id] * count),
            "user_id": rows["user_id"],
            "bucket": rows["bucket"],
            "as_of": rows["as_of"].cast(pa.timestamp("us", tz="UTC")),
            "embedding": list_column(self.predictor.embed(features, present)),
            "source": pa.array(["batch"] * count),
            "status": pa.array(self.predictor.status(present).tolist()),
        }
        schema = contract(TABLE).arrow_schema
        return pa.RecordBatch.from_arrays([columns[name] for name in schema.names], schema=schema)


if __name__ == "__main__":
    main()

"""Embed every user of a batch with Ray Data.

::

    python ray_apps/batch_embed.py --lakehouse URI --batch-id ID
    ray job submit --working-dir . -- python ray_apps/batch_embed.py …

A row of the Ray dataset names a bucket of users; a worker reads that bucket's feature rows, embeds
them, writes one Parquet file, whole or not at all, and records it. After a crash the same command
goes on with the buckets that have no record. What cannot be embedded is set aside with its reason.
When all have ended the gate looks at the files, and one Delta commit makes them visible.
"""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import TYPE_CHECKING

from lakehouse.checks import Check, bounds_said, level_of
from lakehouse.gate import import_ahead
from lakehouse.publish import publish_files
from lakehouse.steps import StepClock
from lakehouse.storage import Lakehouse
from ray_apps.bucket_plan import EMBEDDINGS, BucketPlan, Precision
from ray_apps.embed_progress import EmbedProgress
from ray_apps.session import ray_session
from ray_apps.spread import spread
from schemas.contract import contract
from schemas.errors import BatchError, entry_point
from schemas.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import Any

    from ray_apps.bucket_plan import Bucket

SHOWN = 5  # buckets that a broken check names


class BatchEmbed(Settings):
    """Embed every user of a batch: read, infer, write a bucket at a time, then one commit.

    Given again after a crash, it goes on with the buckets that are missing. A refresh embeds the
    users whose features have changed and carries the others over.
    """

    lakehouse: str
    """Folder or URI of the lakehouse."""
    batch_id: str
    """The batch, whose model is trained."""
    actors: int | None = None
    """Processes that embed; as many as there is room for now, if none is given. A cluster that
    grows with its work needs the number."""
    cpus_per_actor: float = 1.0
    """CPUs of each, on as many threads."""
    gpus: bool = False
    """Whether each computes on a GPU of its own."""
    precision: Precision = "float32"
    """Of the large products; bfloat16 is faster where the processor knows it."""
    memory_mb: int = 256
    """What computing may take in each, in MB; how many users are computed at once is measured."""
    full: bool = False
    """In a refresh: embed everyone, also those whose features are as before."""
    dry_run: bool = False
    """Say what would be done, and stop."""

    def recipe(self) -> dict[str, Any]:
        """What has to be given again for the same vectors, by as many processes."""
        return self.model_dump(
            mode="json", include={"actors", "cpus_per_actor", "gpus", "precision"}
        )


@entry_point
def main(argv: Sequence[str] | None = None) -> None:
    """Embed the buckets that are missing, then audit and publish all."""
    args = BatchEmbed.parse(argv)
    lake = Lakehouse(args.lakehouse)
    clock = StepClock(lake, "embed")
    batch = lake.batches.to_write(args.batch_id)
    if batch.model_uri is None:
        raise BatchError(f"batch {batch.batch_id} has no model: run ray_apps/train_user_model.py")
    plan = BucketPlan(lake, batch, args.precision)
    missing = plan.missing()
    _say(_begun(plan, missing))
    if args.dry_run:
        return
    import_ahead()  # while Ray starts
    progress = EmbedProgress(missing, _say)
    with ray_session() if missing else nullcontext():
        if missing:
            embed_buckets(lake, missing, args, progress)
        records = plan.records()
        files = [name for number in sorted(records) for name in records[number].files]
        whole = complete(plan.buckets, progress.aside)
        there = spread if missing else None  # a cluster is not started for the gate alone
        rows = publish_files(lake, EMBEDDINGS, files, batch, checks=[whole], spread=there)
    lake.batches.record(batch.batch_id, recipe={"embed": args.recipe()})
    clock.finish(
        batch.batch_id,
        rows_in=sum(bucket.rows for bucket in plan.buckets),
        rows_out=rows,
        buckets=len(plan.buckets),
        buckets_done_before=len(plan.buckets) - len(missing),
        carried=sum(record.rows - record.embedded for record in records.values()),
        retries=round(progress.totals["retries"]),
        core_seconds=round(progress.totals["core_seconds"], 3),
        aside=progress.aside,
    )


def _begun(plan: BucketPlan, missing: Sequence[Bucket]) -> str:
    users = sum(bucket.rows for bucket in missing)
    done = len(plan.buckets) - len(missing)
    return f"embed: {len(missing):,} buckets of {users:,} users to embed, {done:,} done before"


def embed_buckets(
    lake: Lakehouse, buckets: Sequence[Bucket], args: BatchEmbed, progress: EmbedProgress
) -> None:
    """Embed and write some buckets; each is one unit of work and of retry."""
    import ray

    from ray_apps.embed_bucket import EmbedBucket

    rows = ray.data.from_items(
        [{"bucket": bucket.number, "size": bucket.size} for bucket in buckets],
        override_num_blocks=len(buckets),
    )
    room = ray.cluster_resources()
    there = room.get("GPU", 0) if args.gpus else room.get("CPU", 0) / args.cpus_per_actor
    done = rows.map(
        EmbedBucket,
        fn_constructor_args=(lake.uri, args.batch_id),
        fn_constructor_kwargs={
            "precision": args.precision,
            "device": "cuda" if args.gpus else "cpu",
            "threads": max(1, math.floor(args.cpus_per_actor)),
            "memory_mb": args.memory_mb,
            "carry": not args.full,
        },
        compute=ray.data.ActorPoolStrategy(
            size=max(1, min(args.actors or math.floor(there), len(buckets)))
        ),
        num_cpus=args.cpus_per_actor,
        num_gpus=1 if args.gpus else 0,
    )
    for told in done.iter_rows():
        progress.count(told)


def complete(buckets: Sequence[Bucket], aside: Mapping[int, str]) -> Check:
    """Whether the users of buckets that were set aside are too many, by the contract's bounds."""
    bound = next(item for item in contract(EMBEDDINGS).live_checks if item.check == "complete")
    users = sum(bucket.rows for bucket in buckets)
    lost = sum(bucket.rows for bucket in buckets if bucket.number in aside)
    level, success = level_of(lost / max(users, 1), bound.warn, bound.fail, below=False)
    return Check(
        check="live.complete",
        expectation=bound.name,
        column=None,
        level=level,
        success=success,
        expected=bounds_said(bound.warn, bound.fail, below=False),
        observed=f"{lost:,} of {users:,} users are in buckets that were set aside: {len(aside):,}",
        unexpected_count=lost,
        examples=[],
        worst=[f"bucket {number}: {aside[number]}" for number in sorted(aside)[:SHOWN]],
    )


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    main()

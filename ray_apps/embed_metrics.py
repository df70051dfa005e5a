"""What embedding workers tell Prometheus, through Ray's own endpoint of each host."""

from __future__ import annotations

from typing import Any

SECONDS = [0.5, 1, 2, 5, 10, 20, 60, 120, 300, 600]
COUNTED = {
    "rows": "users who have a vector",
    "embedded": "users who were embedded, and not carried over",
    "read": "bytes of feature rows",
    "written": "bytes of vectors",
    "core_seconds": "of workers, all threads",
    "retries": "second attempts at a bucket",
}


class EmbedMetrics:
    """Counts of one worker, ``ray_tasteprint_embed_…``.

    Args:
        batch_id: a label of each.
    """

    def __init__(self, batch_id: str) -> None:
        from ray.util.metrics import Counter, Histogram

        keys = ("batch_id",)
        self._counters = {
            name: Counter(f"tasteprint_embed_{name}", description=said, tag_keys=keys)
            for name, said in COUNTED.items()
        }
        self._buckets = Counter(
            "tasteprint_embed_buckets",
            description="buckets that were done or set aside",
            tag_keys=(*keys, "outcome"),
        )
        self._seconds = Histogram(
            "tasteprint_embed_bucket_seconds",
            description="seconds that a bucket took",
            boundaries=SECONDS,
            tag_keys=keys,
        )
        self._tags = {"batch_id": batch_id}

    def count(self, told: dict[str, Any]) -> None:
        """Add what became of a bucket, as ``EmbedBucket`` tells it."""
        for name, counter in self._counters.items():
            if told[name]:
                counter.inc(told[name], tags=self._tags)
        outcome = "aside" if told["reason"] else "done"
        self._buckets.inc(1, tags={**self._tags, "outcome": outcome})
        self._seconds.observe(told["seconds"], tags=self._tags)

import gc
import sys
import types
import zipfile
from zipimport import zipimporter

import pytest

from jobs.daemon import frozen_after, other_archives


@pytest.mark.parametrize(
    "name", ["pyspark.zip", "pyspark.zip/pyspark/sql", "py4j-0.10.9.9-src.zip", "delta.jar/org"]
)
def test_nothing_is_imported_from_archives_of_spark(name):
    with pytest.raises(ImportError, match="nothing that a worker needs"):
        other_archives(f"/opt/spark/python/lib/{name}")


def test_archives_of_other_people_are_imported_from(tmp_path):
    place = tmp_path / "theirs.zip"
    with zipfile.ZipFile(place, "w") as archive:
        archive.writestr("of_theirs.py", "VALUE = 3")
    assert other_archives(str(place)).load_module("of_theirs").VALUE == 3


def test_what_modules_hold_is_looked_at_for_garbage_once(monkeypatch):
    def task(new: str | None) -> int:
        if new:
            monkeypatch.setitem(sys.modules, new, types.ModuleType(new))
        return 7

    served = frozen_after(task)
    gc.unfreeze()
    assert served("a module of this test") == 7
    held = gc.get_freeze_count()
    assert held > 0
    kept = [[] for _ in range(1_000)]
    assert served(None) == 7
    assert gc.get_freeze_count() <= held
    assert len(kept) == 1_000
    gc.unfreeze()


@pytest.mark.spark
def test_workers_of_a_session_read_no_archives_before_a_task(spark):
    def archives(rows):
        for _ in rows:
            found = [type(finder) for finder in sys.path_importer_cache.values()]
            yield found.count(zipimporter)

    assert spark.range(4, numPartitions=4).rdd.mapPartitions(archives).sum() == 0

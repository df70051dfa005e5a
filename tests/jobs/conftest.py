import csv
import shutil
from pathlib import Path

import pytest
import yaml

from lakehouse.storage import Lakehouse

SOURCE = {
    "name": "shop",
    "tables": {
        "items": {
            "files": "items.csv",
            "columns": {"item_id": "sku", "kind": {"constant": "track"}, "title": "title"},
        },
        "listens": {
            "files": "plays*.csv",
            "columns": {
                "event_id": "id",
                "user_id": "user",
                "item_id": "sku",
                "item_kind": {"constant": "track"},
                "played_at": {"column": "at", "unit": "s"},
                "ms_played": "ms",
                "ingested_at": {"column": "at", "unit": "s"},
            },
        },
    },
}


class Shop:
    """A delivery of CSV files and the lakehouse that it goes to."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data, self.source = folder, folder / "data", folder / "shop.yaml"
        self.data.mkdir(parents=True, exist_ok=True)
        self.source.write_text(yaml.safe_dump(SOURCE))
        self.lake = Lakehouse(str(folder / "lake"))

    def put(self, name: str, rows: list[dict]) -> None:
        with (self.data / name).open("w", newline="") as file:
            writer = csv.DictWriter(file, list(rows[0]))
            writer.writeheader()
            writer.writerows(rows)

    def copied(self, folder: Path) -> "Shop":
        """The same files and the same lakehouse in another folder, to be changed there."""
        shutil.copytree(self.folder, folder)
        return Shop(folder)

    @property
    def argv(self) -> list[str]:
        flags = {"source": self.source, "data": self.data, "lakehouse": self.lake.uri}
        return [part for name, value in flags.items() for part in (f"--{name}", str(value))]

    def rows(self, table: str) -> list[dict]:
        """What a reader sees through delta-rs."""
        return (
            self.lake.open(table).to_pyarrow_table().to_pylist() if self.lake.exists(table) else []
        )


def play(number: int, **changes) -> dict:
    """One good row of a delivery."""
    row = {"id": f"e{number}", "user": f"u{number % 7}", "sku": f"t{number % 3}"}
    return row | {"at": 1_700_000_000 + number, "ms": 1000} | changes


@pytest.fixture(scope="session")
def good_play():
    return play


@pytest.fixture(scope="session")
def new_shop():
    return Shop


@pytest.fixture
def arrow_rows(spark):
    """How many rows Spark hands to Python at once, for one test: ``arrow_rows(3)``."""
    name = "spark.sql.execution.arrow.maxRecordsPerBatch"
    before = spark.conf.get(name)
    yield lambda rows: spark.conf.set(name, rows)
    spark.conf.set(name, before)

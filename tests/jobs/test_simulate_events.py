import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from jobs.simulate_events import DONE, TABLES, SimulateEvents, is_done, mark_done, simulated, write
from simulate.config import Simulation

SMALL = Simulation(events=6_000, users=300)


def test_the_part_that_the_rows_depend_on_leaves_out_the_folder():
    args = SimulateEvents.parse(["--out", "somewhere", "--events", "6000", "--users", "300"])
    assert args.simulation == SMALL


def test_only_an_equal_simulation_is_done(tmp_path):
    assert not is_done(tmp_path, SMALL)
    mark_done(tmp_path, SMALL)
    assert is_done(tmp_path, SMALL)
    assert not is_done(tmp_path, SMALL.model_copy(update={"seed": 8}))
    assert [path.name for path in tmp_path.iterdir()] == [DONE]


@pytest.mark.spark
def test_rows_do_not_depend_on_how_spark_cuts_them(spark):
    import numpy as np

    rows = pa.Table.from_batches([TABLES["listens"].rows(SMALL, np.arange(300))]).to_pandas()
    by_spark = simulated(spark, SMALL, "listens").toPandas().sort_values("event_id")
    rows = rows.sort_values("event_id")
    for column in ("event_id", "item_id", "ms_played", "surface"):
        assert by_spark[column].tolist() == rows[column].tolist()


@pytest.mark.spark
def test_files_carry_the_schemas_and_can_be_written_again(spark, tmp_path):
    for _ in range(2):
        write(spark, SMALL, tmp_path)
    for name, table in TABLES.items():
        read = pq.read_table(tmp_path / name)
        assert read.schema.names == table.schema.names
        assert read.num_rows > 0
    assert pq.read_table(tmp_path / "listens").schema.field("played_at").type == pa.timestamp(
        "us", tz="UTC"
    )

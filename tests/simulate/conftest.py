import numpy as np
import pyarrow as pa
import pytest

from simulate.catalogue import catalogue
from simulate.config import Simulation
from simulate.items import item_batch, item_ids
from simulate.listens import listen_batch


@pytest.fixture(scope="session")
def simulation():
    return Simulation(events=40_000, seed=11)


@pytest.fixture(scope="session")
def everybody(simulation):
    return np.arange(simulation.user_count)


@pytest.fixture(scope="session")
def listens(simulation, everybody):
    return pa.Table.from_batches([listen_batch(simulation, everybody)]).to_pandas()


@pytest.fixture(scope="session")
def items(simulation):
    rows = item_batch(simulation, np.arange(simulation.item_count))
    return pa.Table.from_batches([rows]).to_pandas().set_index("item_id")


@pytest.fixture(scope="session")
def genre_of(simulation):
    """The genre index of each item id."""
    shelf = catalogue(simulation)
    genres = shelf.genre[shelf.creator].tolist()
    return dict(zip(item_ids(simulation).to_pylist(), genres, strict=True))

import pyarrow as pa
import pytest
from deltalake import write_deltalake

from lakehouse import tables
from lakehouse.tables import Table, TrackVectors, UserEmbeddings
from schemas.contract import contract
from schemas.errors import BatchError, ContractError, InputError, MixedBatchesError

KINDS = [
    kind
    for kind in vars(tables).values()
    if isinstance(kind, type) and issubclass(kind, Table) and hasattr(kind, "name")
]


@pytest.mark.parametrize("kind", KINDS)
def test_each_type_has_the_name_of_its_contract(kind):
    assert kind.name == contract(kind.name).name
    assert kind.__name__.lower() == kind.name.replace("_", "")


def test_a_typed_table_is_opened_by_name_and_checks_itself(lake, two):
    ours, theirs = (TrackVectors(lake, batch.batch_id) for batch in two)
    assert len(ours) == 6
    with pytest.raises(MixedBatchesError):
        ours.similarity(theirs)
    with pytest.raises(MixedBatchesError):
        ours.join(theirs, "item_id")
    with pytest.raises(BatchError, match="has no user_embeddings"):
        UserEmbeddings(lake, two[0])


def test_vectors_of_two_kinds_are_not_compared(lake, two):
    vectors = TrackVectors(lake, two[0])
    users = object.__new__(UserEmbeddings)
    with pytest.raises(InputError, match="two kinds"):
        vectors.similarity(users)


def test_a_table_that_does_not_fit_lists_every_discrepancy(lake, batches, batch):
    write_deltalake(lake.table_uri("users"), pa.table({"user_id": [1], "country": [2.5]}))
    known = batches.record(batch.batch_id, parents={"users": 0})
    with pytest.raises(ContractError, match=r"user_id is int64.*country is double"):
        tables.Users(lake, known)

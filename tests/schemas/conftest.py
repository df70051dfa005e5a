import pytest

from schemas.contract import Contract, contract


@pytest.fixture(scope="session")
def edited():
    """Copies a contract and lets a function change the copy's document.

    Call it with the table's name: ``edited("listens", lambda document: ...)``.
    """

    def copy(name, *edits):
        document = contract(name).document.model_copy(deep=True)
        for edit in edits:
            edit(document)
        return Contract(document)

    return copy


@pytest.fixture(scope="session")
def column_of():
    """The part of a document that describes one column."""

    def found(document, name):
        return next(item for item in document.schema_[0].properties if item.name == name)

    return found

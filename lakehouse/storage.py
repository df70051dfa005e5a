"""Where everything lies under one URI, and how tables are opened.

::

    LAKEHOUSE/
      tables/NAME/          Delta tables, one per contract
      staging/RUN/NAME/     what a job has written and no gate has passed yet
      models/BATCH/         weights and side-car
      checkpoints/BATCH/    states of a training that has not ended
      reports/RUN/          validation report
      exports/BATCH/vN/     vectors as files for other programs
      drains/LOG.json       how far the events of a log are in the tables
      leases/NAME.json      on an object store: who may commit to a table
"""

from __future__ import annotations

import uuid
from typing import TYPE_CHECKING, Any

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import TableNotFoundError
from deltalake.schema import Field

from lakehouse.arrow import delta_dataset
from lakehouse.batches import BatchRegistry
from lakehouse.lease import committing
from schemas.contract import contract
from schemas.errors import BatchError, InputError
from schemas.stores import delta_options, filesystem_of, whole_file

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence
    from contextlib import AbstractContextManager

    import pyarrow.compute as pc
    import pyarrow.dataset as ds

    from lakehouse.batch import Batch
    from schemas.contract import Contract

RETRIES = 200  # of an append, which only others' commits get in the way of; one of them wins
FOREVER = "interval 36500 days"
TABLE_PROPERTIES = {
    # Both engines must be able to read and write every table.
    "delta.enableDeletionVectors": "false",
    # Only `tasteprint vacuum` knows which old versions batches still need.
    "delta.logRetentionDuration": FOREVER,
    "delta.deletedFileRetentionDuration": FOREVER,
}
NOT_IN_FILES = {"deletionVectors", "columnMapping"}  # features of Delta
BATCH_ID = b"tasteprint.batch_id"  # in the schema's metadata of what was read


class Lakehouse:
    """The tables, models and reports under one URI.

    Args:
        uri: a local folder, ``s3://BUCKET/PREFIX`` (``schemas.stores`` says where that is), or
            another URI that fsspec and Delta both know.
    """

    def __init__(self, uri: str | os.PathLike[str]) -> None:
        self.filesystem, path = filesystem_of(uri)
        self.uri = self.filesystem.unstrip_protocol(path).removeprefix("file://").rstrip("/")

    @property
    def batches(self) -> BatchRegistry:
        """The batch registry of this lakehouse."""
        return BatchRegistry(self)

    def table_uri(self, table: str) -> str:
        """Where the Delta table of that contract lies."""
        return f"{self.uri}/tables/{contract(table).name}"

    def staging_uri(self, run_id: str, table: str) -> str:
        """Where a run writes rows that no reader may see yet."""
        return f"{self.uri}/staging/{run_id}/{contract(table).name}"

    def model_uri(self, batch_id: str) -> str:
        """Where a batch keeps its weights."""
        return f"{self.uri}/models/{batch_id}"

    def report_uri(self, run_id: str) -> str:
        """Where the validation report of a run lies."""
        return f"{self.uri}/reports/{run_id}/index.html"

    def check_writable(self) -> None:
        """Write and delete one small file, so that a closed door is met before any work.

        Raises:
            InputError: the lakehouse cannot be written.
        """
        probe = f"{self.uri}/.probe-{uuid.uuid4().hex}"
        try:
            self.filesystem.makedirs(self.uri, exist_ok=True)
            self.filesystem.pipe_file(probe, b"")
            self.filesystem.rm(probe)
        except OSError as error:
            raise InputError(
                f"the lakehouse {self.uri} cannot be written ({error.strerror or error}): "
                "give another --lakehouse, or the right to write there"
            ) from error

    def whole_file(self, uri: str) -> AbstractContextManager[Any]:
        """Open a file for writing that is there as a whole afterwards, or not at all."""
        return whole_file(uri)

    def write_text(self, uri: str, text: str) -> None:
        """Write a small file, as a whole or not at all."""
        with self.whole_file(uri) as file:
            file.write(text.encode())

    def ensure(self, table: str) -> DeltaTable:
        """Open a table at its newest version, made from its contract if there is none.

        A column that the contract has gained since, which may then be null, is added to it.
        """
        with committing(self, table):
            return self._ensured(table)

    def _ensured(self, table: str) -> DeltaTable:
        agreed = contract(table)
        by_batch = "batch_id" in agreed.key and len(agreed.key) > 1
        found = DeltaTable.create(
            self.table_uri(table),
            schema=agreed.arrow_schema,
            mode="ignore",
            partition_by=["batch_id"] if by_batch else None,
            configuration={**TABLE_PROPERTIES, **_statistics_property(agreed)},
            storage_options=delta_options(self.uri),
        )
        gained = agreed.additions(pa.schema(found.schema().to_arrow()))
        if gained:
            found.alter.add_columns([Field.from_arrow(field) for field in gained])
        held = found.metadata().configuration
        if any(held.get(name) != value for name, value in TABLE_PROPERTIES.items()):
            found.alter.set_table_properties(TABLE_PROPERTIES)  # made before pins were kept
        return found

    def open(self, table: str, version: int | None = None) -> DeltaTable:
        """Open a table and check it against its contract.

        Raises:
            InputError: there is no such table.
            ContractError: the table does not fit its contract.
        """
        try:
            found = DeltaTable(self.table_uri(table), version, delta_options(self.uri))
        except TableNotFoundError as error:
            raise InputError(f"the lakehouse {self.uri} has no table {table}") from error
        contract(table).check_stored(pa.schema(found.schema().to_arrow()))
        return found

    def exists(self, table: str) -> bool:
        """Whether the table has been made."""
        return DeltaTable.is_deltatable(self.table_uri(table), delta_options(self.uri))

    def append(self, table: str, rows: pa.Table, transaction: str | None = None) -> None:
        """Append rows in one commit; with a transaction name, a second time changes nothing."""
        names = [Transaction(app_id=transaction, version=1)] if transaction else None
        with committing(self, table):
            target = self._ensured(table)
            if transaction is not None and target.transaction_version(transaction) is not None:
                return
            write_deltalake(
                target,
                rows.cast(contract(table).arrow_schema),
                mode="append",
                commit_properties=CommitProperties(
                    app_transactions=names, max_commit_retries=RETRIES
                ),
            )

    def batch(self, batch: Batch | str) -> Batch:
        """The batch itself, or the one that is ``live``, ``legacy`` or has that id.

        Raises:
            BatchError: there is none.
        """
        return self.batches.get(batch) if isinstance(batch, str) else batch

    def dataset(self, table: str, batch: Batch | str) -> ds.Dataset:
        """A table as a batch sees it: the inputs it pinned, or the rows it published.

        Columns that the contract has gained since are null.

        Raises:
            BatchError: the batch neither pinned nor published the table.
        """
        chosen = self.batch(batch)
        found = self.open(table, chosen.version_of(table))
        own = [("batch_id", "=", chosen.batch_id)] if table in chosen.tables else None
        schema = contract(table).arrow_schema.with_metadata({BATCH_ID: chosen.batch_id.encode()})
        return delta_dataset(found, own).replace_schema(schema)

    def read(
        self, table: str, batch: Batch | str = "live", columns: Sequence[str] | None = None
    ) -> pa.Table:
        """All rows of ``dataset``, in memory.

        The schema's metadata says which batch they belong to, so that ``lakehouse.space`` can
        refuse to mix them with those of another.
        """
        return self.dataset(table, batch).to_table(columns=list(columns) if columns else None)

    def rows(
        self,
        table: str,
        where: pc.Expression | None = None,
        columns: Sequence[str] | None = None,
    ) -> pa.Table:
        """The newest rows of a table that belong to no batch, in memory."""
        wanted = list(columns) if columns else None
        return delta_dataset(self.open(table)).to_table(columns=wanted, filter=where)

    def files(self, table: str, batch: Batch) -> list[str]:
        """The Parquet files that hold a batch's rows of a table it published."""
        if table not in batch.tables:
            raise BatchError(f"batch {batch.batch_id} has not published {table}")
        found = self.open(table, batch.version_of(table))
        return found.file_uris([("batch_id", "=", batch.batch_id)])

    def plain_files(self, table: str, batch: Batch) -> dict[str, int]:
        """The Parquet files of a table that a batch pinned, bytes by URI, to be read one by one.

        What a file holds is then all there is to know of its rows: they may lack columns, and no
        more.

        Raises:
            InputError: rows are deleted, columns renamed, or values kept, outside of the files.
        """
        found = self.open(table, batch.version_of(table))
        outside = _outside_of_files(found)
        if outside:
            raise InputError(
                f"{found.table_uri} has {', '.join(outside)}, so its files alone do not say what "
                "its rows are: write it again without (see docs/design.md, Tables)"
            )
        root = self.table_uri(table)
        added = pa.table(found.get_add_actions(flatten=True))
        sizes = dict(zip(added["path"].to_pylist(), added["size_bytes"].to_pylist(), strict=True))
        return {uri: sizes.get(uri.removeprefix(f"{root}/"), 0) for uri in found.file_uris()}


def _outside_of_files(found: DeltaTable) -> list[str]:
    """What a Delta table keeps apart from its files, in words."""
    features = {*(found.protocol().reader_features or [])}
    said = [f"the reader feature {name}" for name in sorted(features & NOT_IN_FILES)]
    mapping = found.metadata().configuration.get("delta.columnMapping.mode", "none")
    if mapping != "none" and "columnMapping" not in features:
        said.append(f"columns mapped by {mapping}")
    said += [f"partitions by {name}" for name in found.metadata().partition_columns]
    return said


def _statistics_property(agreed: Contract) -> dict[str, str]:
    """Keep the ranges of personal columns out of the log, which outlives a deleted row."""
    told = [
        column.name
        for column in agreed.columns
        if not column.personal and not column.type_name.startswith("array")
    ]
    return {"delta.dataSkippingStatsColumns": ",".join(told)}

"""Files as a destination: Parquet, CSV and JSON lines in a folder or a bucket."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from datetime import timedelta
from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.connectors.base import (
    CheckItem,
    CleanItem,
    Commit,
    Destination,
    DestinationCapabilities,
    KeyRows,
    StagedRows,
    TargetShape,
)
from conduit_core.connectors.checking import failed
from conduit_core.connectors.datasets import Dataset, files_dataset
from conduit_core.connectors.lake.cleaning import clean
from conduit_core.connectors.lake.dialect import LakeDialect
from conduit_core.connectors.lake.fileset import FileSet, PublishedFile
from conduit_core.connectors.lake.layout import ROOT, target_paths
from conduit_core.connectors.lake.log import Logs
from conduit_core.connectors.lake.partitions import refuse_partition
from conduit_core.connectors.lake.place import Place, target_columns
from conduit_core.connectors.lake.staging import LakeStaging
from conduit_core.connectors.lake.walk import Walk
from conduit_core.connectors.lake.writer import WriteOptions
from conduit_core.connectors.letters import Audit
from conduit_core.connectors.publish import (
    AddColumn,
    AppendStaged,
    CreateTable,
    DeleteMatching,
    DeleteWindow,
    Guard,
    Publish,
    RecordLoad,
    ReplaceWithStaged,
    WidenColumn,
)
from conduit_core.errors import ConduitError, SchemaError
from conduit_core.state.window import Window
from conduit_core.types.dialect import Landing, Table

if TYPE_CHECKING:
    from conduit_core.connectors.lake.formats import FileFormat
    from conduit_core.connectors.objects import ObjectStore
    from conduit_core.events import Emit
    from conduit_core.state.ledger import LedgerRecord

ACTIONS = frozenset(
    {
        "create_table", "append_staged", "replace_with_staged", "delete_window",
        "delete_matching", "add_column", "widen_column", "guard", "record_load",
    }
)  # fmt: skip


class LakeDestination(Destination):
    """Data files below a root, and the manifests that say which of them are a table.

    Args:
        system: the connector's type.
        store: the root.
        form: the data files' format.
        options: how they are cut.
        url: what a file's path is appended to for other tools to open it.
        schema: the default schema: a folder above the tables' folders; "" for none.
    """

    def __init__(
        self,
        system: str,
        store: ObjectStore,
        form: FileFormat,
        options: WriteOptions,
        url: str,
        schema: str = "",
    ) -> None:
        self.system = system
        self.capabilities = DestinationCapabilities(ACTIONS, default_schema=schema)
        self.dialect = LakeDialect(system, form)
        self._url = url.rstrip("/")
        self._place = Place(system, store, Logs(store), form, options)
        self._staging = LakeStaging(self._place)

    @property
    def identity(self) -> str:
        """The root's, without secrets."""
        return self._place.store.identity

    def dataset(self, target: Table) -> Dataset:
        """Return what lineage calls a target: its folder."""
        return files_dataset(self.identity, target_paths(target).data)

    def slices_by(self, field: pa.Field[pa.DataType], ddl: str) -> bool:
        """Say whether rows can be left out by a column's values: files are compared in Arrow."""
        return True

    def check(self, schemas: tuple[str, ...]) -> list[CheckItem]:
        """Write a probe, see that it can't be written twice, and read and remove it."""
        store = self._place.store
        path = f"{ROOT}/_probe-{secrets.token_hex(6)}"
        try:
            first = store.put(path, b"probe", create=True)
            second = store.put(path, b"probe", create=True)
            same = store.get(path) == b"probe"
            store.delete([path])
        except ConduitError as error:
            remedy = "check the destination's path: and the rights on it"
            return [failed("files", error, remedy)]
        once = first and not second
        return [
            CheckItem("files", ok=same, detail=f"{self.identity} can be written and read"),
            CheckItem(
                "create only if absent",
                ok=once,
                detail="of two writers the second is told" if once else "two writers both got in",
                remedy="" if once else "use a store that has conditional puts",
            ),
        ]

    def describe(self, target: Table) -> TargetShape | None:
        """Return the target as its newest manifest says.

        Raises:
            ConfigError: its folder has files that no load wrote.
        """
        newest = self._place.logs.newest(target)
        schema = newest.schema_arrow if newest else None
        if newest is None or schema is None:
            self._place.refuse_foreign(target_paths(target))
            return None
        return TargetShape(target_columns(schema), newest.rows)

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a source column lands in a file."""
        found = self._place.form.landing(field)
        if field.name in self._place.options.partition_by:
            refuse_partition(field.with_type(found.arrow))
        return found

    def records(self, target: Table | None) -> list[LedgerRecord]:
        """Return the records of the manifests, by version."""
        logs = self._place.logs
        if target is not None:
            return [m.record for m in logs.chain(target)]
        chains = logs.all().values()
        return sorted((m.record for c in chains for m in c), key=lambda r: r.version)

    def audits(
        self, target: Table, last: int | None = None, load_id: str | None = None
    ) -> list[Audit]:
        """Return the audit reports of a target's loads, the newest first."""
        chain = sorted(self._place.logs.chain(target), key=lambda m: m.version, reverse=True)
        found = [
            Audit(m.record.load_id, m.version, m.report)
            for m in chain
            if m.report and load_id in (None, m.record.load_id)
        ]
        return found[:last]

    def kept_schema(self, target: Table, fingerprint: str) -> str | None:
        """Return a load's schema as its manifest keeps it."""
        chain = self._place.logs.chain(target)
        found = (m.schema_text for m in chain if m.record.schema_fingerprint == fingerprint)
        return next(found, None)

    def render(self, publish: Publish) -> list[str]:
        """Return what :meth:`commit` would do to the files, a line for each step."""
        target = Table(publish.target_schema, publish.target_table)
        paths = target_paths(target)
        newest = self._place.logs.newest(target)
        form = self._place.form
        write = f"write data files: {paths.data}/*{form.suffix}"
        lines: list[str] = []
        for action in publish.actions:
            match action:
                case CreateTable(columns=columns):
                    names = ", ".join(f"{c.name} {c.ddl}" for c in columns)
                    lines.append(f"new table {target}: {names}")
                case AddColumn() | WidenColumn():
                    lines.append(_change(action))
                case DeleteWindow(window=text):
                    window = Window.from_json(text).display()
                    lines.append(f"leave out the rows of {window}: files that have some are redone")
                case DeleteMatching(columns=names):
                    lines.append(f"leave out the rows whose {', '.join(names)} arrive again")
                case AppendStaged():
                    lines.append(write)
                case ReplaceWithStaged():
                    lines += [write, f"leave out the files that {target} has now"]
                case Guard(expr=expr, message=message):
                    lines.append(f"guard: {expr} (else: {message})")
                case RecordLoad():
                    version = (newest.version if newest else 0) + 1
                    lines.append(f"create if absent: {paths.manifest(version)}")
        return lines

    def commit(
        self,
        publish: Publish,
        rows: StagedRows | None,
        emit: Emit,
        keys: KeyRows | None = None,
    ) -> Commit:
        """Write data files, then create the next manifest; see :meth:`Destination.commit`."""
        return Walk(self._place, publish, rows, emit).run()

    def scan(self, target: Table, columns: tuple[str, ...] | None = None) -> pa.RecordBatchReader:
        """Read the files of the newest manifest; a newer one that comes meanwhile isn't seen."""
        newest = self._place.logs.newest(target)
        schema = newest.schema_arrow if newest else None
        if newest is None or schema is None:
            raise SchemaError(f"{target} doesn't exist in {self.identity}", command="conduit run")
        unknown = [name for name in columns or () if name not in schema.names]
        if unknown:
            raise SchemaError(
                f"{target} has no column {unknown[0]!r}; there are {', '.join(schema.names)}"
            )
        wanted = pa.schema([schema.field(name) for name in columns or schema.names])
        files = self._place.logs.files(newest)

        def batches() -> Iterator[pa.RecordBatch]:
            for file in files:
                yield from self._place.read(file, schema, wanted.names)

        return pa.RecordBatchReader.from_batches(wanted, batches())

    def files(self, target: Table) -> FileSet:
        """Return the published data files of a target.

        Raises:
            SchemaError: the target doesn't exist.
        """
        newest = self._place.logs.newest(target)
        if newest is None or newest.columns is None:
            raise SchemaError(f"{target} doesn't exist in {self.identity}", command="conduit run")
        files = self._place.logs.files(newest)
        return FileSet(
            target=str(target),
            format=self.system,
            version=newest.version,
            load_id=newest.record.load_id,
            rows=newest.rows,
            bytes=newest.bytes,
            files=tuple(
                PublishedFile(path=f"{self._url}/{f.path}", rows=f.rows, bytes=f.bytes)
                for f in files
            ),
        )

    def staging(self) -> LakeStaging:
        """Return the staging whose splits are data files in place."""
        return self._staging

    def clean(self, older_than: timedelta, *, dry_run: bool) -> list[CleanItem]:
        """Remove old manifests, and files that no version needs any more."""
        published = {r.load_id for r in self.records(None)}
        items = clean(self._place, older_than, dry_run=dry_run)
        return items + self._staging.sweep(older_than, published, dry_run=dry_run)


def _change(action: AddColumn | WidenColumn) -> str:
    """Return, as text, a change of a column: no file is written again for it."""
    column = action.column
    if isinstance(action, AddColumn):
        return f"new column {column.name} {column.ddl}: NULL in older files"
    null = ", NULL allowed" if column.nullable and not action.was.nullable else ""
    kinds = f"from {action.was.ddl} to {column.ddl}{null}"
    return f"column {column.name} {kinds}: older files are read as that"

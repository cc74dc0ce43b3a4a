"""What columns of data files are called and hold: their types' names are Arrow's. Text only."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from conduit_core.types.dialect import Dialect, Effort, Landing
from conduit_core.types.schema import parse_type

if TYPE_CHECKING:
    from conduit_core.connectors.lake.formats import FileFormat


class LakeDialect(Dialect):
    """The types of one file format.

    Args:
        system: the connector's type.
        form: the data files' format.
    """

    has_ddl = False

    def __init__(self, system: str, form: FileFormat) -> None:
        self.name = system
        self._form = form

    def landing(self, field: pa.Field[pa.DataType]) -> Landing:
        """Return where a column lands in a file."""
        return self._form.landing(field)

    def field_of(self, name: str, ddl: str, *, nullable: bool = True) -> pa.Field[pa.DataType]:
        """Return what a column of a type's name holds."""
        return pa.field(name, parse_type(ddl), nullable)

    def effort(self, old: str, new: str) -> Effort:
        """Only the manifest changes: published files are read as the wider type.

        Text of a number is read to the digits of its type, so that a wider float would be another.
        """
        if old != new and old in ("halffloat", "float") and self.name != "parquet":
            return "impossible"
        return "catalogue"

"""``pandera``: a DataFrameSchema or DataFrameModel judges a batch as a pandas frame.

Types, columns and order are the schema's business: they are checked once, on a frame without rows.
Checks of values run on each batch, lazily, and their failure cases are mapped back to rows. A check
that judges a frame as a whole (one true or false) says something else for each size of a batch:
it is refused when it fails, as no row can be named. ``unique`` becomes rules of its own, since a
batch isn't the load. ``coerce`` judges the coerced values; the rows go on as they are.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from conduit_core.errors import ConfigError, QualityError, SchemaError
from conduit_core.quality.finding import Finding
from conduit_core.quality.imports import import_object

if TYPE_CHECKING:
    import pandas as pd

_SCHEMA_REASONS = {"WRONG_DATATYPE", "COLUMN_NOT_IN_DATAFRAME", "COLUMN_NOT_IN_SCHEMA"}
_SCHEMA_REASONS |= {"COLUMN_NOT_ORDERED", "DATATYPE_COERCION", "WRONG_FIELD_NAME"}
_MASKED = {f"{sign}Int{bits}Dtype" for sign in ("", "U") for bits in (8, 16, 32, 64)}
_MASKED |= {"Float32Dtype", "Float64Dtype", "BooleanDtype"}


class FrameSchema:
    """A pandera schema, ready to judge batches.

    Raises:
        ConfigError: pandera isn't installed, the path doesn't import, or is no pandera schema.
        SchemaError: the rows don't have the schema's columns and types.
    """

    def __init__(self, path: str, schema: pa.Schema, folder: Path | None) -> None:
        self.path = path
        try:
            import pandera.pandas as pandera
        except ImportError as error:
            raise ConfigError(
                "`rule: pandera` needs pandera and pandas: pip install 'pandera[pandas]'",
                command="conduit check",
            ) from error
        self._errors = pandera.errors
        found = import_object(path, "model", folder)
        if isinstance(found, type) and issubclass(found, pandera.DataFrameModel):
            found = found.to_schema()
        if not isinstance(found, pandera.DataFrameSchema):
            raise ConfigError(
                f"model {path!r} is a {type(found).__name__}, not a DataFrameSchema or"
                " DataFrameModel of pandera.pandas",
                command="conduit check",
            )
        self._schema: Any = deepcopy(found)
        _keep_rows(self._schema)
        self.unique = _take_unique(self._schema, schema.names)
        """Columns that the schema calls unique: each a rule of its own."""
        self._kinds = {name: _wanted(column) for name, column in self._schema.columns.items()}
        self._check_types(schema)
        _forget_types(self._schema)

    def findings(self, batch: pa.RecordBatch) -> Sequence[Finding]:
        """Return which rows break which checks; those of one column and check together.

        Raises:
            QualityError: a check raised, or judged the batch as a whole.
        """
        try:
            self._schema.validate(self._frame(batch), lazy=True)
        except self._errors.SchemaErrors as error:
            return self._found(error, batch.num_rows)
        except Exception as error:  # a check of the user's
            raise self._broken(f"raised {type(error).__name__}: {error}") from error
        return ()

    def _found(self, errors: Any, size: int) -> Sequence[Finding]:
        rows: dict[tuple[str | None, str], set[int]] = {}
        for error in errors.schema_errors:
            if error.reason_code is not None and error.reason_code.name == "CHECK_ERROR":
                raise self._broken(f"a check failed: {error}")
            name = error.schema.name
            column = name if name in self._kinds else None
            reason = f"breaks {getattr(error.check, 'error', None) or error.check}"
            cases = error.failure_cases
            where = cases.get("index") if hasattr(cases, "get") else None
            if where is None or where.isna().any():
                text = f"check {error.check} judged a batch as a whole: no row can be named"
                raise self._broken(text)
            rows.setdefault((column, reason), set()).update(int(row) for row in where)
        return [
            Finding(column, reason, _all_but(failing, size))
            for (column, reason), failing in rows.items()
        ]

    def _broken(self, text: str) -> QualityError:
        return QualityError(f"pandera model {self.path!r}: {text}", command="conduit check")

    def _check_types(self, schema: pa.Schema) -> None:
        empty = pa.RecordBatch.from_arrays(
            [pa.array([], field.type) for field in schema], schema=schema
        )
        try:
            self._schema.validate(self._frame(empty), lazy=True)
        except self._errors.SchemaErrors as errors:
            wrong = [
                str(error).splitlines()[0]
                for error in errors.schema_errors
                if error.reason_code is not None and error.reason_code.name in _SCHEMA_REASONS
            ]
            if wrong:
                raise SchemaError(
                    f"pandera model {self.path!r} doesn't fit the rows: {'; '.join(wrong)};"
                    " where another type will do, say `coerce=True` there",
                    command="conduit check",
                ) from errors
        except Exception:  # noqa: BLE001, S110 - a check that can't take a frame without rows
            pass

    def _frame(self, batch: pa.RecordBatch) -> pd.DataFrame:
        """Return the batch in the pandas types that the schema asks for; exact."""
        import pandas as pd

        return pd.DataFrame(
            {
                field.name: _series(batch.column(index), self._kinds.get(field.name))
                for index, field in enumerate(batch.schema)
            },
            index=pd.RangeIndex(batch.num_rows),
        )


def _wanted(column: Any) -> object:
    return getattr(column.dtype, "type", None)


def _series(column: pa.Array[Any], wanted: object) -> pd.Series[Any]:
    import pandas as pd

    if isinstance(wanted, pd.ArrowDtype):
        return pd.Series(_arrow_backed(column))
    if type(wanted).__name__ in _MASKED:
        return pd.Series(_arrow_backed(column)).astype(wanted)
    if pa.types.is_integer(column.type) and column.null_count:
        # An integer with a NULL would become a float, and lose what is above 2^53.
        name = str(column.type).replace("int", "Int").replace("uInt", "UInt")
        return pd.Series(_arrow_backed(column)).astype(name)
    return column.to_pandas()


def _arrow_backed(column: pa.Array[Any]) -> Any:
    import pandas as pd

    return pd.arrays.ArrowExtensionArray(pa.chunked_array([column]))


def _keep_rows(schema: Any) -> None:
    """Let the schema tell of bad rows; with `drop_invalid_rows` it would be silent of them."""
    schema.drop_invalid_rows = False
    for column in schema.columns.values():
        column.drop_invalid_rows = False


def _take_unique(schema: Any, names: Sequence[str]) -> list[tuple[str, ...]]:
    """Take what the schema calls unique out of it; not columns that may be missing, and are."""
    found: list[tuple[str, ...]] = []
    if schema.unique:
        columns = [schema.unique] if isinstance(schema.unique, str) else list(schema.unique)
        found.append(tuple(columns))
        schema.unique = None
    for name, column in schema.columns.items():
        if column.unique:
            meant = [n for n in names if re.match(name, n)] if column.regex else [name]
            found += [(each,) for each in meant if column.required or each in names]
            column.unique = False
    return found


def _forget_types(schema: Any) -> None:
    """Types were checked without rows; of a frame with NULLs they may differ."""
    schema.dtype = None if not schema.coerce else schema.dtype
    for column in schema.columns.values():
        if not (column.coerce or schema.coerce):
            column.dtype = None


def _all_but(failing: set[int], size: int) -> pa.BooleanArray:
    return pa.array([row not in failing for row in range(size)], pa.bool_())

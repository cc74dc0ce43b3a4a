"""Names for Arrow's generic types, as connectors write them in signatures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

import pyarrow as pa

if TYPE_CHECKING:
    Column: TypeAlias = pa.Array[Any]
    Field: TypeAlias = pa.Field[Any]
    Value: TypeAlias = pa.Scalar[Any]
else:
    Column, Field, Value = pa.Array, pa.Field, pa.Scalar

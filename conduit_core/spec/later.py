"""Parts of the pipeline file that most files don't have: their models are made when one does.

A dozen models of rules cost every process a tenth of its start, also where no stream has a rule.
"""

from __future__ import annotations

from functools import cached_property
from importlib import import_module
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import GetCoreSchemaHandler, GetJsonSchemaHandler, TypeAdapter
from pydantic_core import CoreSchema, core_schema

__all__ = ["Later", "Rule", "Step"]


class Later:
    """Validates as a type of another module does, which is imported with the first value.

    Errors keep their places, and the JSON Schema is that type's own.
    """

    def __init__(self, module: str, name: str) -> None:
        self._module = module
        self._name = name

    @property
    def annotation(self) -> Any:
        """The type itself."""
        return getattr(import_module(self._module), self._name)

    @cached_property
    def _adapter(self) -> TypeAdapter[Any]:
        return TypeAdapter(self.annotation)

    def _validate(self, value: object) -> object:
        return self._adapter.validate_python(value)

    def __get_pydantic_core_schema__(
        self, _source: object, _handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return core_schema.no_info_plain_validator_function(self._validate)

    def __get_pydantic_json_schema__(
        self, _schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> dict[str, Any]:
        return handler(self._adapter.core_schema)


if TYPE_CHECKING:
    from conduit_core.spec.rules import Rule
    from conduit_core.spec.transforms import Step
else:
    Rule = Annotated[Any, Later("conduit_core.spec.rules", "Rule")]
    Step = Annotated[Any, Later("conduit_core.spec.transforms", "Step")]

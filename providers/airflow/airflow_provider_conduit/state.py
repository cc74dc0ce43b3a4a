"""The runner's state store in Airflow: a mirror of the ledger that people see and edit there.

On Airflow 3.3 and later it lies with the table's Asset, before that in a Variable. Neither has a
compare-and-set: the ledger decides what is loaded, whatever these say.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from airflow_provider_conduit.compat import Asset, Variable, asset_state, has_asset_state
from conduit_core.errors import StateError

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context

KEY = "conduit"
"""The key of the entry in an Asset's state."""


class _Entries(Protocol):
    """One place for one value, which is JSON."""

    def read(self) -> object:
        """Return the value, None for none."""
        ...

    def write(self, value: object) -> None:
        """Replace it."""
        ...


class AirflowStateStore:
    """A table's entry in Airflow, as the engine reads and writes it: canonical JSON text.

    Args:
        entries: where the value is.
        place: where a person finds it, for messages.
    """

    def __init__(self, entries: _Entries, place: str) -> None:
        self._entries = entries
        self._place = place

    def get(self, key: str) -> str | None:
        """Return the entry's text, or None.

        Raises:
            StateError: Airflow can't be asked.
        """
        try:
            value = self._entries.read()
        except Exception as error:
            raise StateError(
                f"the state of {key} in {self._place} can't be read: {error}", retry="step"
            ) from error
        return None if value is None else _text(value)

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write the entry if the one that ``expect`` identifies is still there."""
        from conduit_core import seal_of

        value = self._entries.read()
        if seal_of(None if value is None else _text(value)) != expect:
            return False
        self._entries.write(json.loads(entry))
        return True


class AssetEntries:
    """The entry in the state of an Asset, under the key ``conduit``."""

    def __init__(self, asset: Asset, context: Context) -> None:
        self._state = asset_state(context, asset)

    def read(self) -> object:
        """Return the value, None for none."""
        return self._state.get(KEY)

    def write(self, value: object) -> None:
        """Replace it."""
        self._state.set(KEY, value)


class VariableEntries:
    """The entry in a Variable."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> object:
        """Return the value, None for none."""
        text = Variable.get(self.name, default=None)
        if not isinstance(text, str):
            return text
        try:
            return json.loads(text)
        except ValueError:
            return text

    def write(self, value: object) -> None:
        """Replace it."""
        described = "The watermark of a table, as Conduit's ledger has it. Edit `cursor` to rewind."
        Variable.set(self.name, value, description=described, serialize_json=True)


def variable_name(asset: Asset) -> str:
    """Return the name of the Variable that holds a table's entry before Airflow 3.3."""
    return f"conduit:{asset.name}"


def state_store(asset: Asset, context: Context) -> AirflowStateStore:
    """Return the state store of a task that has the Asset among its inlets or outlets."""
    if has_asset_state(context):
        return AirflowStateStore(AssetEntries(asset, context), f"the asset {asset.name}")
    name = variable_name(asset)
    return AirflowStateStore(VariableEntries(name), f"the variable {name}")


class ManyStores:
    """The state stores of several tables, each asked by its table's key: ``schema.table``."""

    def __init__(self, stores: Mapping[str, AirflowStateStore]) -> None:
        self._stores = stores

    def get(self, key: str) -> str | None:
        """Return the entry's text, or None."""
        return self._of(key).get(key)

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write the entry if the one that ``expect`` identifies is still there."""
        return self._of(key).set(key, entry, expect)

    def _of(self, key: str) -> AirflowStateStore:
        found = self._stores.get(key) or self._stores.get(key.partition(".")[2])
        if found is None:
            raise StateError(f"no Asset of this task is called {key}")
        return found


def state_stores(assets: Iterable[Asset], context: Context) -> ManyStores:
    """Return the state stores of a task that has several Assets."""
    return ManyStores({asset.name: state_store(asset, context) for asset in assets})


def _text(value: object) -> str:
    """Return a stored value as the text that was sealed; what is no entry, as it would be typed."""
    if isinstance(value, str):
        return value
    return json.dumps(value, sort_keys=True, separators=(",", ":"))

"""The runner's state store in Prefect: the sealed entry in a Variable that people see and edit.

Prefect has no compare-and-set on a Variable: of two writers the last one stays. The ledger decides
what is loaded, whatever a Variable says.
"""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.exceptions import ObjectAlreadyExists

from conduit_core.errors import StateError

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

PREFIX = "conduit"
TAG = "conduit"
_LONGEST = 255
_PLAIN = re.compile(r"[a-z0-9_]+")


def variable_name(schema: str, table: str, prefix: str = PREFIX) -> str:
    """Return the name of the Variable that holds a table's entry.

    It is ``PREFIX-SCHEMA-TABLE``. Prefect takes small letters, digits, ``_`` and ``-`` alone, up to
    255 of them; other signs become ``-``, and a digest of the exact name at the end keeps two
    tables apart that would have the same name.
    """
    parts = [part for part in (schema, table) if part]
    name = "-".join([prefix, *parts])
    if all(_PLAIN.fullmatch(part) for part in parts) and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256("\0".join(parts).encode()).hexdigest()[:8]
    plain = re.sub(r"[^a-z0-9_-]+", "-", name.lower())
    return f"{plain[: _LONGEST - len(digest) - 1]}-{digest}"


class PrefectStateStore:
    """The entries of tables, each in a Variable of its own.

    Args:
        prefix: what the Variables' names begin with.
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        self._prefix = prefix
        self.seen: dict[str, str | None] = {}
        """By table, what was there when it was first asked for."""

    def get(self, key: str) -> str | None:
        """Return the entry's text, or None.

        Raises:
            StateError: Prefect can't be asked.
        """
        try:
            with get_client(sync_client=True) as client:
                found = _text(client, self.name(key))
        except Exception as error:
            raise StateError(
                f"the variable {self.name(key)} can't be read from Prefect: {error}", retry="step"
            ) from error
        self.seen.setdefault(key, found)
        return found

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write the entry if the one that ``expect`` identifies is still there."""
        from conduit_core import seal_of

        name = self.name(key)
        with get_client(sync_client=True) as client:
            found = _text(client, name)
            if seal_of(found) != expect:
                return False
            value = json.loads(entry)
            if found is not None:
                client.update_variable(VariableUpdate(name=name, value=value))
                return True
            try:
                client.create_variable(VariableCreate(name=name, value=value, tags=[TAG]))
            except ObjectAlreadyExists:
                return False
            return True

    def name(self, key: str) -> str:
        """Return the Variable's name for a table's key, ``schema.table``."""
        schema, _, table = key.rpartition(".")
        return variable_name(schema, table, self._prefix)


def _text(client: SyncPrefectClient, name: str) -> str | None:
    found = client.read_variable_by_name(name)
    if found is None:
        return None
    if isinstance(found.value, str):
        return found.value
    return json.dumps(found.value, sort_keys=True, separators=(",", ":"))

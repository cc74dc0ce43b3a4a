"""The runner's state store in Prefect: the sealed entry in a Variable that people see and edit.

Prefect has no compare-and-set on a Variable: of two writers the last one stays. The ledger decides
what is loaded, whatever a Variable says.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import VariableCreate, VariableUpdate
from prefect.exceptions import ObjectAlreadyExists

from conduit_core.errors import ConduitError, ConfigError, StateDivergedError, StateError
from prefect_conduit.blocks import ConduitPipeline
from prefect_conduit.failures import said_by

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient

PREFIX = "conduit"
TAG = "conduit"
_LONGEST = 255
_PLAIN = re.compile(r"[a-z0-9_]+")
_PREFIXES = re.compile(r"[a-z0-9_]{1,100}")
_OF_STORE = "conduit state show"
"""What the core says of an entry that it can't use; it reads a ledger, and no Variable."""


def variable_name(schema: str, table: str, prefix: str = PREFIX) -> str:
    """Return the name of the Variable that holds a table's entry.

    It is ``PREFIX-SCHEMA-TABLE``. Prefect takes small letters, digits, ``_`` and ``-`` alone, up to
    255 of them. Where a name has other signs, or is too long, they become ``-``, and ``--`` and a
    digest of the exact name follow: no two tables have one Variable.
    """
    parts = [part for part in (schema, table) if part]
    name = "-".join([prefix, *parts])
    if all(_PLAIN.fullmatch(part) for part in parts) and len(name) <= _LONGEST:
        return name
    digest = hashlib.sha256(json.dumps([schema, table]).encode()).hexdigest()[:16]
    shown = re.sub(r"[^a-z0-9_]+", "-", name.lower())[: _LONGEST - len(digest) - 2]
    return f"{shown.strip('-')}--{digest}"


class PrefectStateStore:
    """The entry of a table, in a Variable of its own.

    Args:
        prefix: what the Variables' names begin with: small letters, digits and ``_``.

    Raises:
        ConfigError: the prefix has other signs, or more than a hundred.
    """

    def __init__(self, prefix: str = PREFIX) -> None:
        if not _PREFIXES.fullmatch(str(prefix)):
            raise ConfigError(
                f"state_prefix={prefix!r}: it is up to a hundred small letters, digits and _"
            )
        self._prefix = prefix
        self._found = ""

    def get(self, key: str) -> str | None:
        """Return the entry's text, or None.

        Args:
            key: the table's, ``schema.table``.

        Raises:
            StateError: Prefect can't be asked.
        """
        name = self.name(key)
        with _asking(name, "read"), get_client(sync_client=True) as client:
            found = _text(client, name)
        self._found = "" if found is None else name
        return found

    def set(self, key: str, entry: str, expect: str | None) -> bool:
        """Write the entry if the one that ``expect`` identifies is still there.

        Args:
            key: the table's, ``schema.table``.
            entry: the new one's text.
            expect: the seal of the one that was found; None for none.

        Returns:
            Whether it was written.

        Raises:
            StateError: Prefect can't be asked.
        """
        from conduit_core import seal_of

        name = self.name(key)
        with _asking(name, "written"), get_client(sync_client=True) as client:
            found = _text(client, name)
            if seal_of(found) != expect:
                return False
            if found is not None:
                client.update_variable(VariableUpdate(name=name, value=_value(entry)))
                return True
            try:
                client.create_variable(VariableCreate(name=name, value=_value(entry), tags=[TAG]))
            except ObjectAlreadyExists:
                return False
            return True

    def name(self, key: str) -> str:
        """Return the name of a table's Variable.

        Args:
            key: the table's, ``schema.table``.
        """
        if key.startswith('"'):
            schema, end = json.JSONDecoder().raw_decode(key)
            return variable_name(schema, key[end + 1 :], self._prefix)
        schema, dot, table = key.partition(".")
        return variable_name(schema, table, self._prefix) if dot else self.name(f".{key}")

    def explain(self, error: ConduitError) -> None:
        """Let an error of the entry end with what to do in Prefect: no command of ours gets there.

        Args:
            error: what a load raised that asked this store.
        """
        if not self._found:
            return
        unset = f"prefect variable unset {self._found}"
        if isinstance(error, StateDivergedError):
            error.command = (
                f"if the destination is right: {unset}, and the next run follows its ledger; if two"
                " destinations have a table of this name: give one of them another state_prefix="
            )
        elif isinstance(error, StateError) and (error.command or "").startswith(_OF_STORE):
            error.command = f"{unset}  # the next run follows the ledger"


def store_of(pipeline: object, prefix: str | None) -> PrefectStateStore:
    """Return the state store of a task.

    Args:
        pipeline: what the task was given: a block may say what its Variables begin with.
        prefix: what the task's caller says, which comes first.

    Raises:
        ConfigError: it can't be a part of a Variable's name.
    """
    if prefix is None and isinstance(pipeline, ConduitPipeline):
        prefix = pipeline.state_prefix
    return PrefectStateStore(PREFIX if prefix is None else prefix)


@contextmanager
def _asking(name: str, what: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        said = said_by(error)
        raise StateError(
            f"the variable {name} can't be {what}, Prefect's API says: {type(error).__name__}"
            f"{': ' if said else ''}{said}",
            retry="step",
            command="prefect config view",
        ) from error


def _value(entry: str) -> dict[str, Any] | str:
    try:
        value: dict[str, Any] = json.loads(entry)
    except ValueError:
        return entry
    return value


def _text(client: SyncPrefectClient, name: str) -> str | None:
    """Return a Variable's value as the text that was sealed; what is no entry, as it is typed."""
    found = client.read_variable_by_name(name)
    if found is None:
        return None
    if isinstance(found.value, str):
        return found.value
    return json.dumps(found.value, sort_keys=True, separators=(",", ":"))

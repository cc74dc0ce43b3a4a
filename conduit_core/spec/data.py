"""A pipeline of one stream around data that Python made: the mapping that a file would hold."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conduit_core.errors import ConfigError
from conduit_core.spec.names import quote_name, split_table

OF_PYTHON = "frames"
"""The type of a source that ``Pipeline.from_data`` makes; no file can name it."""
_ARGUMENTS = {"into": "into", "mode": "mode", "unique_key": "key", "cursor": "cursor"}
_FIRST = ("table", "query", "path")


def data_mapping(
    name: str,
    into: str,
    destination: object,
    mode: str,
    key: str | Sequence[str] | None,
    cursor: str | Sequence[str] | None,
    stream: Mapping[str, object],
) -> dict[str, object]:
    """Return the pipeline as a mapping; its one stream reads the data as a table of its own name.

    Args:
        name: the pipeline's.
        into: the target.
        destination: as a file says it.
        mode: the stream's.
        key: its ``unique_key``.
        cursor: its ``cursor``.
        stream: its further keys.

    Raises:
        ConfigError: the further keys say again what an argument says, or what the data is.
    """
    for given in stream:
        if given in _ARGUMENTS:
            raise ConfigError(
                f"`stream` has {given!r}: give it as the argument `{_ARGUMENTS[given]}`"
            )
        if given in _FIRST:
            raise ConfigError(f"`stream` has {given!r}, but its rows are the data")
    named = stream.get("name") or _table_of(into)
    own = {"table": quote_name(str(named)), "name": named, "into": into, "mode": mode}
    keyed = {"unique_key": key, "cursor": cursor}
    return {
        "name": name,
        "source": {"type": OF_PYTHON},
        "destination": destination,
        "streams": [{**own, **{k: v for k, v in keyed.items() if v is not None}, **stream}],
    }


def _table_of(into: str) -> str:
    try:
        return split_table(into)[1]
    except ValueError:
        return into  # the model's own error says what is wrong with it

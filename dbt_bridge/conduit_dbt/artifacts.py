"""Reads what dbt wrote about an invocation: the same for every way to run it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import cast

from conduit_dbt.results import DbtNode, DbtResult, DbtSource, SourceFreshness

_RUN_RESULTS = "run_results.json"
_SOURCES = "sources.json"
_MANIFEST = "manifest.json"
_LOG = "dbt.log"
_UNREADABLE = "runtime error"
# dbt's age of an empty table counts from the year 1.
_NEVER = datetime(1900, 1, 1, tzinfo=UTC)


def forget(folder: Path, *, manifest: bool) -> None:
    """Delete what an earlier invocation left, so that it is never taken for the next one's."""
    names = [_RUN_RESULTS, _SOURCES, _LOG] + ([_MANIFEST] if manifest else [])
    for name in names:
        (folder / name).unlink(missing_ok=True)


def is_empty(folder: Path) -> bool:
    """Whether nothing lies in a folder that dbt writes in any run."""
    return not any((folder / name).exists() for name in (_RUN_RESULTS, _SOURCES, _LOG, _MANIFEST))


def read_manifest(folder: Path) -> Mapping[str, object]:
    """Return the manifest in a target folder; empty where dbt wrote none."""
    return _json(folder / _MANIFEST)


def sources_of(manifest: Mapping[str, object]) -> tuple[DbtSource, ...]:
    """Return the source tables that a manifest declares, by unique id."""
    return _sources(_mapping(manifest.get("sources")))


def disabled_sources_of(manifest: Mapping[str, object]) -> tuple[DbtSource, ...]:
    """Return the source tables that the project has switched off (``enabled: false``)."""
    found = {k: _list(v) for k, v in _mapping(manifest.get("disabled")).items()}
    return _sources({k: v[0] for k, v in found.items() if v and k.startswith("source.")})


def _sources(found: Mapping[str, object]) -> tuple[DbtSource, ...]:
    return tuple(
        DbtSource(
            unique_id=unique_id,
            source_name=str(source.get("source_name")),
            name=str(source.get("name")),
            database=_text(source.get("database")) or None,
            schema_name=_text(source.get("schema")),
            identifier=_text(source.get("identifier")) or _text(source.get("name")),
        )
        for unique_id, each in sorted(found.items())
        if (source := _mapping(each))
    )


def read_result(
    folder: Path,
    *,
    command: str,
    arguments: Sequence[str],
    code: int,
    error: str,
    seconds: float,
    secrets: Sequence[str] = (),
) -> DbtResult:
    """Return what the invocation that just ended did, from the files it wrote into a folder.

    Args:
        folder: its target and log path.
        command: dbt's command.
        arguments: the command's own arguments.
        code: how it ended.
        error: why, as its runner knows it; what dbt logged goes first.
        seconds: how long it took.
        secrets: texts that are masked in every message.
    """
    log = _Log.read(folder / _LOG)
    results = _of(log.invocation, _json(folder / _RUN_RESULTS))
    sources = _of(log.invocation, _json(folder / _SOURCES))
    manifest = read_manifest(folder) if results or sources else {}
    read = {_text(each.get("unique_id")) for each in _list(sources.get("results"))}
    unread = [each for each in log.unread() if each["unique_id"] not in read]
    # Where a node failed, the nodes say why.
    why = code == 2 or (code and not (results or sources or unread))
    masks = tuple(sorted((s for s in secrets if s.strip()), key=len, reverse=True))
    return DbtResult(
        command=command,
        arguments=shown(arguments),
        code=code,
        error=_masked(log.error or error, masks) if why else "",
        dbt_version=log.version,
        seconds=seconds,
        nodes=tuple(_node(each, manifest, masks) for each in _list(results.get("results"))),
        freshness=tuple(
            _freshness(each, masks) for each in (*_list(sources.get("results")), *unread)
        ),
        target_path=folder,
    )


def shown(arguments: Sequence[str]) -> tuple[str, ...]:
    """Return arguments without the values of ``--vars``, which say more than a log should."""
    kept: list[str] = []
    for argument in arguments:
        if kept and kept[-1] == "--vars":
            kept.append("...")
        else:
            kept.append("--vars=..." if argument.startswith("--vars=") else argument)
    return tuple(kept)


@dataclass(frozen=True)
class _Log:
    """What only the log tells: the invocation's id, the error that ended it, lost sources.

    A source whose table can't be read isn't in ``sources.json``; ``lost`` has those, ``said`` what
    was said of a node.
    """

    invocation: str
    version: str
    error: str
    lost: tuple[str, ...]
    said: dict[str, str]

    @classmethod
    def read(cls, file: Path) -> _Log:
        found: dict[str, str] = {"invocation": "", "version": "", "error": ""}
        lost: list[str] = []
        said: dict[str, str] = {}
        lines = file.read_text("utf-8", errors="replace").splitlines() if file.exists() else ()
        for line in lines:
            event = _parsed(line)
            info, data = _mapping(event.get("info")), _mapping(event.get("data"))
            node = _text(_mapping(data.get("node_info")).get("unique_id"))
            found["invocation"] = found["invocation"] or _text(info.get("invocation_id"))
            match info.get("name"):
                case "MainReportVersion":
                    found["version"] = _text(data.get("version")).removeprefix("=")
                case "MainEncounteredError":
                    found["error"] = _text(data.get("exc")).strip()
                case "LogFreshnessResult" if data.get("status") == _UNREADABLE:
                    lost.append(node)
                case "RunResultError" if node:
                    said[node] = _text(data.get("msg")).strip()
        return cls(**found, lost=tuple(lost), said=said)

    def unread(self) -> list[dict[str, object]]:
        """Return the lost sources as ``sources.json`` would have them."""
        return [
            {"unique_id": each, "status": _UNREADABLE, "error": self.said.get(each, "")}
            for each in self.lost
        ]


def _node(result: Mapping[str, object], manifest: Mapping[str, object], masks: _Masks) -> DbtNode:
    unique_id = _text(result.get("unique_id"))
    declared = _declared(unique_id, manifest)
    rows = _mapping(result.get("adapter_response")).get("rows_affected")
    failures = result.get("failures")
    return DbtNode(
        unique_id=unique_id,
        name=_name(unique_id, declared),
        kind=unique_id.partition(".")[0],
        status=_text(result.get("status")),
        seconds=_number(result.get("execution_time")),
        rows=rows if isinstance(rows, int) and rows >= 0 else None,
        message=_masked(_text(result.get("message")).strip(), masks),
        failures=failures if isinstance(failures, int) else None,
        path=_text(declared.get("original_file_path")),
    )


def _freshness(result: Mapping[str, object], masks: _Masks) -> SourceFreshness:
    unique_id = _text(result.get("unique_id"))
    status = _text(result.get("status"))
    newest = _time(result.get("max_loaded_at"))
    age = timedelta(seconds=_number(result.get("max_loaded_at_time_ago_in_s"))) if newest else None
    if status == _UNREADABLE:
        message = f"the table isn't there or can't be read: {_text(result.get('error'))}"
    elif newest is None or age is None:
        message = "the table has no rows"
    else:
        message = f"the newest row is {_spoken(age)} old{_limit(status, result)}"
    return SourceFreshness(
        unique_id=unique_id,
        name=".".join(unique_id.split(".")[2:]),
        status=status,
        max_loaded_at=newest,
        age=age,
        message=_masked(message, masks),
    )


def _limit(status: str, result: Mapping[str, object]) -> str:
    """Return which limit a stale table is past, in words."""
    after = _mapping(_mapping(result.get("criteria")).get(f"{status}_after"))
    count, period = after.get("count"), after.get("period")
    if not count or not period:
        return ""
    return f", the limit is {count} {period}{'' if count == 1 else 's'}"


def _spoken(age: timedelta) -> str:
    seconds = max(int(age.total_seconds()), 0)
    for unit, size in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= size:
            return f"{seconds // size} {unit}{'' if seconds // size == 1 else 's'}"
    return f"{seconds} second{'' if seconds == 1 else 's'}"


def _time(value: object) -> datetime | None:
    try:
        found = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    # dbt reads a time without a zone as UTC, and gives an empty table the year 1.
    found = found if found.tzinfo else found.replace(tzinfo=UTC)
    return found if found >= _NEVER else None


def _name(unique_id: str, declared: Mapping[str, object]) -> str:
    parts = unique_id.split(".")
    return _text(declared.get("name")) or (parts[2] if len(parts) > 2 else unique_id)


def _declared(unique_id: str, manifest: Mapping[str, object]) -> Mapping[str, object]:
    for kind in ("nodes", "sources", "unit_tests", "exposures", "saved_queries"):
        if found := _mapping(_mapping(manifest.get(kind)).get(unique_id)):
            return found
    return {}


def _of(invocation: str, artifact: Mapping[str, object]) -> Mapping[str, object]:
    """Return an artifact if the invocation wrote it, else an empty one."""
    wrote = _mapping(artifact.get("metadata")).get("invocation_id")
    return artifact if not invocation or wrote in {invocation, None} else {}


def _masked(text: str, masks: _Masks) -> str:
    for secret in masks:
        text = text.replace(secret, "*****")
    return text


def _json(file: Path) -> Mapping[str, object]:
    return _parsed(file.read_text("utf-8", errors="replace")) if file.exists() else {}


def _parsed(text: str) -> Mapping[str, object]:
    try:
        return _mapping(json.loads(text))
    except ValueError:
        # A file cut off by a kill, or a line in which dbt masked a secret.
        return {}


def _mapping(value: object) -> Mapping[str, object]:
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def _list(value: object) -> list[Mapping[str, object]]:
    return [_mapping(each) for each in value] if isinstance(value, list) else []


def _text(value: object) -> str:
    return "" if value is None else str(value)


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


_Masks = tuple[str, ...]

"""``conduit dlq``: rows that rules rejected, looked at, replayed, purged."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session, age_of, runner_text
from conduit_core.observe import figures

if TYPE_CHECKING:
    from conduit_core.connectors.letters import DeadLetter, Status
    from conduit_core.connectors.publish import LetterFilter


class StatusOption(StrEnum):
    """Which letters by what became of them."""

    open = "open"
    resolved = "resolved"
    superseded = "superseded"
    purged = "purged"
    all = "all"


Load = Annotated[
    str | None, typer.Option("--load", help="Only those that this load rejected last.")
]
Rule = Annotated[str | None, typer.Option("--rule", help="Only those that break this rule.")]
Ids = Annotated[list[str] | None, typer.Option("--id", help="Only this letter; may be repeated.")]
Status_ = Annotated[
    StatusOption, typer.Option("--status", help="Only letters of this status, or all.")
]
_COLUMNS = (
    ("last seen", "left"),
    ("stream", "left"),
    ("key", "left"),
    ("rules", "left"),
    ("attempts", "right"),
    ("status", "left"),
    ("id", "left"),
)


def list_(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    load: Load = None,
    rule: Rule = None,
    status: Status_ = StatusOption.open,
    limit: Annotated[int, typer.Option("--limit", min=1, help="How many, newest first.")] = 20,
) -> Answer:
    """List dead letters, newest first."""
    from conduit_core.engine import deadletters

    pipeline = session.pipeline(file)
    found = deadletters.letters(
        pipeline, _names(stream), _which(load, rule, None), statuses=_statuses(status), limit=limit
    )

    def write(screen: Screen) -> None:
        screen.table(_COLUMNS, [_row(letter) for letter in found])
        if not found:
            which = "" if status is StatusOption.all else f"{status.value} "
            screen.line(f"no {which}dead letters")

    return Answer({"pipeline": pipeline.name, "letters": [_document(x) for x in found]}, write)


def show(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    id_: Annotated[str, typer.Option("--id", help="The letter's id, or its beginning.")],
) -> Answer:
    """Show one dead letter: the row as the rules saw it, and every reason."""
    from conduit_core.engine import deadletters

    pipeline = session.pipeline(file)
    letter = deadletters.by_beginning(deadletters.letters(pipeline, statuses=deadletters.ALL), id_)

    def write(screen: Screen) -> None:
        for name, text in _facts(letter):
            screen.line(f"{name:<12} {text}")

    return Answer({"letter": _document(letter)}, write)


def replay(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    load: Load = None,
    rule: Rule = None,
    id_: Ids = None,
) -> Answer:
    """Hold open dead letters to today's rules, and load those that pass. Never back in time."""
    from conduit_core.engine import deadletters

    pipeline = session.pipeline(file)
    with session.watching(pipeline, quietly=True) as listeners:
        results = deadletters.replay(
            pipeline,
            _names(stream),
            load_id=load,
            rule=rule,
            ids=tuple(id_ or ()),
            listeners=listeners,
            runner=runner_text(),
        )
    columns = (("stream", "left"), ("letters", "right"), ("became", "left"), ("load id", "left"))

    def write(screen: Screen) -> None:
        rows = [
            (
                result.stream,
                figures.count(result.counts.read),
                figures.kinds(result.counts.model_dump()) or "nothing to replay",
                result.load_id or "" if result.outcome != "empty" else "",
            )
            for result in results
        ]
        screen.table(columns, rows)

    told = [result.model_dump(mode="json") for result in results]
    return Answer({"pipeline": pipeline.name, "results": told}, write)


def purge(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    stream: options.Streams = None,
    load: Load = None,
    rule: Rule = None,
    id_: Ids = None,
    status: Annotated[
        StatusOption | None,
        typer.Option("--status", help="Of this status, or all. Default: those that are settled."),
    ] = None,
    older_than: Annotated[
        str | None, typer.Option("--older-than", help="Only those last rejected so long ago: 90d.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only count them.")] = False,
) -> Answer:
    """Forget the rows of dead letters, settled ones by default; that there was one stays known."""
    from conduit_core.engine import deadletters

    pipeline = session.pipeline(file)
    command = "conduit dlq purge --older-than 90d --dry-run"
    age = None if older_than is None else age_of(older_than, command)
    kept = tuple(s for s in _statuses(status or StatusOption.all) if s != "purged")
    if status is None:
        kept = tuple(s for s in kept if s != "open")
    count = deadletters.purge(
        pipeline,
        _names(stream),
        _which(load, rule, id_),
        statuses=kept,
        older_than=age,
        dry_run=dry_run,
    )

    def write(screen: Screen) -> None:
        screen.line(f"{figures.count(count)} {'would be purged' if dry_run else 'purged'}")

    return Answer({"pipeline": pipeline.name, "dry_run": dry_run, "purged": count}, write)


def _names(streams: list[str] | None) -> tuple[str, ...] | None:
    return tuple(streams) if streams else None


def _which(load: str | None, rule: str | None, ids: list[str] | None) -> LetterFilter:
    from conduit_core.connectors.publish import LetterFilter

    return LetterFilter(load_id=load, rule=rule, ids=tuple(ids) if ids else None)


def _statuses(status: StatusOption) -> tuple[Status, ...]:
    from conduit_core.engine.deadletters import ALL

    return tuple(s for s in ALL if status is StatusOption.all or s == status.value)


def _reasons(letter: DeadLetter) -> list[dict[str, str | None]]:
    found: list[dict[str, str | None]] = json.loads(letter.reasons)
    return found


def _document(letter: DeadLetter) -> dict[str, object]:
    """Return a letter as JSON whose reasons, key and payload are JSON, too."""
    out: dict[str, object] = letter.model_dump(mode="json")
    out["reasons"] = _reasons(letter)
    out["payload"] = json.loads(letter.payload) if letter.payload else None
    out["row_key"] = json.loads(letter.row_key) if letter.row_key else None
    return out


def _row(letter: DeadLetter) -> tuple[str, ...]:
    rules = dict.fromkeys(str(reason["rule"]) for reason in _reasons(letter))
    return (
        letter.last_seen_at.strftime("%Y-%m-%dT%H:%M:%SZ"),
        letter.stream,
        letter.row_key or "",
        ", ".join(rules),
        figures.count(letter.attempts),
        letter.status,
        letter.letter_id[:16],
    )


def _facts(letter: DeadLetter) -> list[tuple[str, str]]:
    settled = ""
    if letter.settled_at is not None:
        by = f" by load {letter.settled_by}" if letter.settled_by else ""
        settled = f"{letter.settled_at.isoformat()}{by}"
    facts = [
        ("letter", letter.letter_id),
        ("stream", f"{letter.stream} ({letter.pipeline})"),
        ("target", f"{letter.target_schema}.{letter.target_table}"),
        ("status", letter.status),
        ("settled", settled),
        ("key", letter.row_key or "none"),
        ("rows", figures.count(letter.copies)),
        ("attempts", figures.count(letter.attempts)),
        ("load", letter.load_id),
        ("first seen", f"{letter.first_seen_at.isoformat()} by load {letter.first_load_id}"),
        ("last seen", letter.last_seen_at.isoformat()),
        ("redacted", ", ".join(letter.redacted)),
    ]
    for reason in _reasons(letter):
        about = f" ({reason['column']})" if reason["column"] else ""
        facts.append(("breaks", f"{reason['rule']}{about}: {reason['reason']}"))
    row: dict[str, object] = json.loads(letter.payload) if letter.payload else {}
    facts += [(f"  {name}", json.dumps(value, ensure_ascii=False)) for name, value in row.items()]
    return [(name, text) for name, text in facts if text]

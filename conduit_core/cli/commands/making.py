"""Commands that write files: ``conduit init``, ``discover --write`` and ``connectors new``."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from conduit_core.cli import options
from conduit_core.cli.screen import Answer, Screen
from conduit_core.cli.session import Session
from conduit_core.observe import figures

if TYPE_CHECKING:
    from conduit_core.connectors.base import Relation


def init(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    from_: Annotated[
        str | None,
        typer.Option(
            "--from", help="A URL, a path or a connection's name: a stream for each of its tables."
        ),
    ] = None,
) -> Answer:
    """Write a commented pipeline file, from a template or from what a connection holds."""
    from conduit_core.cli.drafting import draft
    from conduit_core.errors import ConfigError
    from conduit_core.spec.template import template

    path = Path(file)
    if path.exists():
        raise ConfigError(
            f"{file} is there already; name another file", command="conduit init other.yml"
        )
    if path.suffix.lower() == ".toml":
        raise ConfigError("init writes YAML; name a .yml file", command="conduit init pipeline.yml")
    if from_ is None:
        text, variable = template(), None
    else:
        text, variable = draft(session, from_, path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as out:
            out.write(text)
    except OSError as error:
        raise ConfigError(f"{file} can't be written: {error.strerror}") from None

    def show(screen: Screen) -> None:
        screen.line(f"wrote {file}")
        if variable:
            screen.line(f"the URL holds a secret, so the file takes it from ${variable}: set it")
        screen.line(f"next: conduit check{_suffix(file)}")

    return Answer({"file": file, "environment": [variable] if variable else []}, show)


def _suffix(file: str) -> str:
    return "" if file == options.DEFAULT_FILE else f" {shlex.quote(file)}"


def discover(
    session: Session,
    file: options.File = options.DEFAULT_FILE,
    *,
    write: Annotated[
        bool,
        typer.Option(
            "--write",
            help="Resolve the file's patterns (table: 'public.*') into streams; without patterns,"
            " add a stream for each table that it lacks.",
        ),
    ] = False,
) -> Answer:
    """List what the source holds, and whether the file loads it."""
    from conduit_core.cli.drafting import is_listed, open_source, rewritten

    path = Path(file)
    with open_source(session, path) as (source, streams):
        relations = source.discover()
    added: list[str] = []
    if write:
        added = rewritten(path, [r.name for r in relations])
    told: list[dict[str, object]] = [
        {
            "name": r.name,
            "rows_estimate": r.rows_estimate,
            "primary_key": list(r.primary_key),
            "columns": [{"name": f.name, "type": str(f.type)} for f in r.schema],
            "in_file": is_listed(r.name, streams) or r.name in added,
        }
        for r in relations
    ]

    def show(screen: Screen) -> None:
        columns = [
            ("name", "left"),
            ("rows", "right"),
            ("columns", "right"),
            ("key", "left"),
            ("in the file", "left"),
        ]
        loaded = [bool(item["in_file"]) for item in told]
        screen.table(columns, [_row(r, yes) for r, yes in zip(relations, loaded, strict=True)])
        if write:
            screen.line(f"{file}: added {', '.join(added) or 'nothing'}")

    return Answer({"file": file, "relations": told, "added": added}, show)


def _row(relation: Relation, in_file: bool) -> tuple[str, ...]:  # noqa: FBT001 - a cell
    rows = relation.rows_estimate
    return (
        relation.name,
        figures.count(rows) if rows is not None else "",
        str(len(relation.schema)),
        ", ".join(relation.primary_key),
        "yes" if in_file else "no",
    )


def new_connector(
    session: Session,
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="The `type:` that pipeline files will write.")
    ],
) -> Answer:
    """Write the package of a new connector, with tests that pass, into the folder conduit-NAME."""
    from conduit_core.cli.kit import distribution_of, package, write

    texts = package(name)
    folder = Path(distribution_of(name))
    write(folder, texts)

    def show(screen: Screen) -> None:
        screen.line(f"wrote {folder}: {len(texts)} files; its README.md says what each is")
        screen.line(f"next: cd {folder} && pip install -e '.[dev]' && pytest")

    return Answer({"type": name, "folder": str(folder), "files": list(texts)}, show)

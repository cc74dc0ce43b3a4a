"""What an alert says: title, text for people, JSON for webhooks; conditions and templates."""

from __future__ import annotations

import difflib
import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from datetime import UTC, datetime
from importlib.resources import files
from typing import TYPE_CHECKING

from conduit_core.errors import ConfigError
from conduit_core.observe import figures
from conduit_core.observe.alerts_decide import Sending
from conduit_core.observe.alerts_facts import AlertFacts, cut, moment
from conduit_core.observe.words import column_change

if TYPE_CHECKING:
    from jinja2 import Environment, TemplateError

VERSION = 1
"""Of the JSON body; a key that goes or changes its meaning raises it."""
MAX_TEMPLATE = 2000
"""Characters of what a template says of one stream."""
MAX_ITEMS = 500
"""Alerts in one body; more are counted."""
_WHOLE = 3
"""Up to so many streams a text says all of each, else a line."""
NAMES = tuple(f.name for f in fields(AlertFacts))
Facts = Mapping[str, object]


def alert_schema() -> dict[str, object]:
    """Return the JSON Schema of a webhook's body."""
    text = files("conduit_core.observe").joinpath("alert.schema.json").read_text(encoding="utf-8")
    schema: dict[str, object] = json.loads(text)
    return schema


@dataclass(frozen=True, slots=True)
class Message:
    """What one receiver is told of one kind of thing at the end of a run.

    Args:
        word: failure, recovered, ...
        sendings: an alert for each stream.
        lines: what is said of each.
        pipeline: its name.
        kept: whether the destination remembers that it was told.
        test: whether nothing has happened.
    """

    word: str
    sendings: tuple[Sending, ...]
    lines: tuple[str, ...]
    pipeline: str
    kept: bool = True
    test: bool = False

    @property
    def key(self) -> str:
        """The same each time these very alerts are sent together."""
        keys = sorted(s.key for s in self.sendings)
        return (
            keys[0] if len(keys) == 1 else hashlib.sha256("".join(keys).encode()).hexdigest()[:32]
        )

    @property
    def title(self) -> str:
        """One line: what, where."""
        names = list(dict.fromkeys(str(s.facts["stream"]) for s in self.sendings))
        if len(names) == 1:
            told = f"{names[0]} {_ONE[self.word]}".strip()
        else:
            told = f"{figures.count(len(names))} streams {_MANY[self.word]}"
        return cut(f"{'test: ' if self.test else ''}{self.pipeline}: {told}", 200)

    def text(self, limit: int) -> str:
        """Return all of it for people, in so many characters at most."""
        tail = _run_line(self.sendings[0].facts)
        note = "A test of notify: nothing has happened." if self.test else ""
        room = limit - len(tail) - len(note) - 40
        lines, left = [], list(self.lines)
        while left and len(left[0]) < room:
            room -= len(left[0]) + 1
            lines.append(left.pop(0))
        if left and not lines:
            lines.append(left.pop(0)[: max(room, 0)])
        more = f"and {figures.count(len(left))} more" if left else ""
        return "\n".join(part for part in (note, *lines, more, tail) if part)

    def body(self) -> dict[str, object]:
        """Return the JSON body of a webhook; ``alert_schema`` says what is in it."""
        shown = self.sendings[:MAX_ITEMS]
        first = self.sendings[0].facts
        return {
            "version": VERSION,
            "key": self.key,
            "about": self.word,
            "pipeline": self.pipeline,
            "sent_at": datetime.now(UTC).isoformat(),
            "test": self.test,
            "kept": self.kept,
            "title": self.title,
            "text": self.text(10_000),
            "runner": {name: first.get(name, "") for name in ("runner", "run", "url")},
            "alerts": [{"key": s.key, **s.facts} for s in shown],
            "left_out": len(self.sendings) - len(shown),
        }


_ONE = {
    "failure": "failed",
    "success": "was loaded",
    "recovered": "is fine again",
    "rejected": "had rows rejected",
    "schema_change": "has changed columns",
    "stale": "is past its freshness",
}
_MANY = {
    "failure": "failed",
    "success": "were loaded",
    "recovered": "are fine again",
    "rejected": "had rows rejected",
    "schema_change": "have changed columns",
    "stale": "are past their freshness",
}


def lines_of(sendings: Sequence[Sending]) -> tuple[str, ...]:
    """Return what is said of each stream, without a template."""
    whole = len(sendings) <= _WHOLE
    return tuple(
        "\n".join(
            (
                f"{s.facts['stream'] or s.facts['pipeline']}: {_said(s.facts)}",
                *(_details(s.facts) if whole else ()),
            )
        )
        for s in sendings
    )


def _said(f: Facts) -> str:
    match f["about"]:
        case "failure":
            again = f" (seen in {f['times']} runs)" if f["times"] != 1 else ""
            return f"{f['text']}{again}"
        case "recovered":
            return f"fine again after {_since(f)}: {_WAS[str(f['was'])]}"
        case "rejected":
            rules = _pairs(f["rules"])
            return f"{_count(f['rejected'])} of {_count(f['read'])} rows rejected{rules}"
        case "schema_change":
            return _columns(f["columns"])
        case "stale":
            lag = f["lag_seconds"]
            behind = f"{figures.duration(float(str(lag)))} behind the source" if lag else "behind"
            return f"{behind}, past its freshness of {_seconds(f['freshness_seconds'])}"
        case _:
            return f"{_count(f['read'])} rows read{_pairs(f['counts'])} in {_seconds(f['seconds'])}"


_WAS = {"failure": "it had failed", "rejected": "rows were rejected", "stale": "it was stale"}


def _details(f: Facts) -> list[str]:
    mark = f"watermark {f['watermark']}" if f["watermark"] else ""
    load = f"load {f['load_id']}" if f["load_id"] else ""
    told = (f["state"], f["retry"], f["command"], mark, load)
    return [f"  {part}" for part in told if part]


def _since(f: Facts) -> str:
    begun, ended = moment(f["opened_at"]), moment(f["at"])
    if begun is None or ended is None:
        return "a while"
    return figures.duration(max((ended - begun).total_seconds(), 0.0))


def _count(value: object) -> str:
    return figures.count(int(str(value)))


def _seconds(value: object) -> str:
    return figures.duration(float(str(value or 0)))


def _pairs(value: object) -> str:
    pairs = value.items() if isinstance(value, Mapping) else ()
    told = ", ".join(f"{name} {_count(rows)}" for name, rows in pairs if name != "read")
    return f" ({told})" if told else ""


def _columns(value: object) -> str:
    columns = value if isinstance(value, list | tuple) else ()
    told = (f"{c['column']} {column_change(c['change'], c['was'], c['now'])}" for c in columns)
    return cut(", ".join(told), 1000)


def _run_line(f: Facts) -> str:
    if not (f.get("run") or f.get("url")):
        return ""
    return " ".join(str(f[name]) for name in ("runner", "run", "url") if f.get(name))


# --- conditions and templates ---------------------------------------------------------------------


def condition(text: str) -> Callable[[Facts], bool]:
    """Return an ``if:`` as a function of an alert's facts.

    Raises:
        ConfigError: it is no Jinja expression.
    """
    from jinja2 import TemplateError

    try:
        asked = _environment().compile_expression(text, undefined_to_none=False)
    except TemplateError as error:
        raise ConfigError(f"`if`: {error}") from None
    return lambda facts: bool(asked(**facts))


def template(text: str) -> Callable[[Facts], str]:
    """Return a ``template:`` as a function of an alert's facts.

    Raises:
        ConfigError: it is no Jinja template.
    """
    from jinja2 import TemplateError

    try:
        made = _environment().from_string(text)
    except TemplateError as error:
        raise ConfigError(f"`template`: {error}") from None

    def render(facts: Facts) -> str:
        out = ""
        for part in made.generate(**facts):
            out += part
            if len(out) > MAX_TEMPLATE:
                break
        return out[:MAX_TEMPLATE].strip()

    return render


def check_words(condition_: str | None, template_: str | None) -> None:
    """Look whether an ``if:`` and a ``template:`` are Jinja, and know their names.

    Raises:
        ConfigError: what is wrong; an unknown name with the nearest.
    """
    from jinja2 import TemplateError, meta

    for key, text in (("if", condition_), ("template", template_)):
        if text is None:
            continue
        source = f"{{{{ {text} }}}}" if key == "if" else text
        try:
            unknown = sorted(meta.find_undeclared_variables(_environment().parse(source)))
        except TemplateError as error:
            raise ConfigError(f"`{key}`: {_jinja(error)}") from None
        unknown = [name for name in unknown if name not in NAMES]
        if unknown:
            near = difflib.get_close_matches(unknown[0], NAMES, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(NAMES)}"
            raise ConfigError(f"`{key}`: there is no {unknown[0]}; {hint}")
    if condition_ is not None:
        condition(condition_)


def _jinja(error: TemplateError) -> str:
    """Return what Jinja says, in words that need no knowledge of how it reads a text."""
    text = str(error)
    return "it isn't whole: its end is missing" if "end of print statement" in text else text


def _environment() -> Environment:
    from jinja2 import StrictUndefined
    from jinja2.exceptions import SecurityError
    from jinja2.sandbox import ImmutableSandboxedEnvironment

    class Sandbox(ImmutableSandboxedEnvironment):
        """One in which a short text can't make a long one."""

        intercepted_binops = frozenset({"*", "**", "%"})

        def call_binop(self, context: object, operator: str, left: object, right: object) -> object:
            """Carry out an operator, on numbers only."""
            numbers = all(isinstance(v, int | float) for v in (left, right))
            if not numbers or operator == "**":
                raise SecurityError(f"{operator} is for numbers" if not numbers else "no **")
            return self.binop_table[operator](left, right)

    sandbox = Sandbox(undefined=StrictUndefined, autoescape=False)
    for name in ("range", "lipsum"):  # what is left to loop over are an alert's own facts
        del sandbox.globals[name]
    return sandbox

"""The reference of the pipeline file, written from its JSON Schema.

``CONDUIT_UPDATE_DOCS=1 pytest tests/docs -k pipeline_file`` writes the page and the schema file;
without it the tests say whether they are up to date.
"""

from __future__ import annotations

import ast
import contextlib
import inspect
import io
import json
import re
from collections.abc import Iterator
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from conduit_core.cli import main
from conduit_core.connectors import registry
from conduit_core.spec.jsonschema import open_scalars
from docs_site.assemble import DOCS
from docs_site.markdown import slug

if TYPE_CHECKING:
    from pydantic import BaseModel

Node = dict[str, Any]

PAGE = DOCS / "reference" / "pipeline-file.md"
SCHEMA = DOCS / "reference" / "pipeline.schema.json"
_HEAD = """\
# Keys of the pipeline file

Every key, with its type, its default and what it means, as the JSON Schema has it. How they work
together is told in [The pipeline file](../pipeline.md) and [Quality](../quality.md). Where a list
is allowed, a list of one may be written as its item.

The schema itself is [pipeline.schema.json](pipeline.schema.json), and what `conduit json-schema`
prints. An editor with a YAML language server checks a file, and completes its keys, where its first
line is `# yaml-language-server: $schema=pipeline.schema.json`, or wherever that lies.

"""
_TITLES = {
    "source": "`source`",
    "destination": "`destination`",
    "StreamDefaults": "Streams, and `defaults`",
    "DeletesSpec": "`deletes`",
    "SplitsSpec": "`splits`",
    "SchemaChangeSpec": "`on_schema_change`",
    "RenameStep": "`transform`: `rename`",
    "CastStep": "`transform`: `cast`",
    "DropStep": "`transform`: `drop`",
    "HashStep": "`transform`: `hash`",
    "HashOptions": "How to `hash`",
    "MaskStep": "`transform`: `mask`",
    "MaskOptions": "How to `mask`",
    "NotifyRule": "`notify`",
    "ReceiverSpec": "`notify`: `to`",
    "after_dbt": "`after`: `dbt`",
}
_DEFAULT = re.compile(r" Default: (.+?)\.?$")
_ENDS = ("source", "destination")


def schema_text() -> str:
    """Return what ``conduit json-schema`` prints: the schema with the installed hooks' keys."""
    told = io.StringIO()
    with contextlib.redirect_stdout(told):
        main(["json-schema"])
    return told.getvalue()


def page_text() -> str:
    """Return the page.

    Raises:
        KeyError: the schema has a part that has no title above.
    """
    schema: Node = json.loads(schema_text())
    parts: dict[str, Node] = schema["$defs"]
    rules = {
        node["properties"]["rule"]["const"]: node
        for node in parts.values()
        if "rule" in node.get("properties", {})
    }
    steps = [name for name in parts if name in _TITLES]
    stream, defaults = parts["StreamSpec"], parts["StreamDefaults"]
    own = {k: v for k, v in stream["properties"].items() if k not in defaults["properties"]}
    sections = [
        _section("A pipeline", schema),
        *(_section(_TITLES[end], _mapping(parts[end])) for end in ("source", "destination")),
        "## Options of each connector\n\nThey stand beside `type`.\n",
        *_connectors(),
        _section("A stream", {**stream, "properties": own}),
        *(_section(_TITLES[n], parts[n]) for n in _TITLES if n in steps and n not in _ENDS),
        *_rules(rules),
    ]
    known = {*steps, "StreamSpec", *(n["title"] for n in rules.values())}
    if unknown := set(parts) - known:
        raise KeyError(f"no title for {sorted(unknown)}")
    return _HEAD + "\n".join(sections)


def _mapping(node: Node) -> Node:
    """Return the mapping of a part that may also be a text."""
    return next(part for part in node["anyOf"] if part.get("type") == "object")


def _section(title: str, node: Node, *, level: int = 2) -> str:
    return f"{'#' * level} {title}\n\n{_sentence(node.get('description', ''))}\n\n{_table(node)}"


def _rules(rules: dict[str, Node]) -> Iterator[str]:
    """Yield what all rules share, and then each rule's own keys."""
    first, *others = rules.values()
    shared = {
        key: node
        for key, node in first["properties"].items()
        if all(other["properties"].get(key) == node for other in others)
    }
    yield "## `quality`\n\nA rule is named by `rule`, and these keys are every rule's:\n"
    yield _table({"properties": shared})
    for name, node in rules.items():
        own = {k: v for k, v in node["properties"].items() if k not in shared and k != "rule"}
        yield _section(f"`rule: {name}`", {**node, "properties": own}, level=3)


def _connectors() -> Iterator[str]:
    for name in registry.names():
        connector = registry.get(name)
        options = connector.options.model_json_schema(by_alias=True)
        open_scalars(options["properties"])
        for key, node in options["properties"].items():
            if "description" not in node:
                node["description"] = _docstring(connector.options, key)
        told = {**options, "description": connector.title}
        yield _section(f"`type: {name}`", told, level=3)


def _docstring(model: type[BaseModel], field: str) -> str:
    """Return what stands below a field in the source, where the schema doesn't say it."""
    home = next(kind for kind in model.__mro__ if field in vars(kind).get("__annotations__", {}))
    (source,) = ast.parse(inspect.getsource(home)).body
    for node, following in pairwise(source.body if isinstance(source, ast.ClassDef) else ()):
        is_it = isinstance(node, ast.AnnAssign) and ast.unparse(node.target) == field
        if is_it and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return str(following.value.value)
    raise KeyError(f"{home.__name__}.{field} has no docstring")


def _table(node: Node) -> str:
    if not node["properties"]:
        return ""
    rows = ["| key | type | default | meaning |", "|---|---|---|---|"]
    required = node.get("required", [])
    for key, value in node["properties"].items():
        told = _sentence(value.get("description", "")).replace("|", "\\|")
        default = "required" if key in required else _default(value)
        if not default and (said := _DEFAULT.search(told)):
            is_value = re.fullmatch(r"[\w.+]*\d\w*|\w+_\w+|/\S+", said[1])
            told, default = told[: said.start()], f"`{said[1]}`" if is_value else said[1]
        rows.append(f"| `{key}` | {_type(value)} | {default} | {told} |")
    return "\n".join(rows) + "\n"


def _default(node: Node) -> str:
    if "default" not in node or node["default"] in (None, {}, []):
        return ""
    value = node["default"]
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _sentence(text: str) -> str:
    return " ".join(text.replace("``", "`").split())


def _type(node: Node) -> str:
    """Return a type in words: ``text, or a list``."""
    one = list(dict.fromkeys(_types(node)))
    many = list(dict.fromkeys(word for part in _arrays(node) for word in _types(part["items"])))
    if not many:
        return _or(one)
    plural = "a list" if set(many) <= set(one) else f"a list whose items are {_or(many)}"
    return _or([*one, plural])


def _or(words: list[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"


def _arrays(node: Node) -> Iterator[Node]:
    for part in (node, *node.get("anyOf", ())):
        if part.get("type") == "array" and "items" in part:
            yield part


def _types(node: Node) -> Iterator[str]:
    """Yield the types of a node that are no lists."""
    if "$ref" in node:
        yield from _reference(node["$ref"].rpartition("/")[2])
    elif "anyOf" in node or "oneOf" in node:
        for part in node.get("anyOf") or node["oneOf"]:
            yield from _types(part)
    elif "enum" in node or "const" in node:
        yield from (f"`{word}`" for word in node.get("enum", [node.get("const")]))
    elif isinstance(node.get("type"), list):
        for kind in node["type"]:
            yield from _types({**node, "type": kind})
    elif node.get("type") not in {"null", "array"}:
        yield _simple(node)


def _simple(node: Node) -> str:
    kind = node.get("type")
    if kind == "string":
        if "milliseconds" in node.get("pattern", ""):
            return "duration"
        return "share" if "%" in node.get("pattern", "") else "text"
    words = {"integer": "whole number", "number": "number", "boolean": "`true` or `false`"}
    return words.get(str(kind), "a mapping")


def _reference(name: str) -> Iterator[str]:
    if name in _ENDS:
        yield "a URL or path"
    if name == "StreamSpec":
        yield "[a mapping](#a-stream)"
    elif name in _TITLES:
        yield f"[a mapping](#{slug(_TITLES[name])})"
    else:
        yield "[a rule](#quality)"

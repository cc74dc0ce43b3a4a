"""The JSON Schema of a pipeline file, for editors: ``conduit json-schema`` prints it."""

from __future__ import annotations

from typing import Any

from conduit_core.spec.endpoints import URL_FORMS
from conduit_core.spec.model import PipelineSpec
from conduit_core.spec.schema_changes import WORDS
from conduit_core.spec.splits import MAX_SPLITS

Node = dict[str, Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
_DESTINATION_ONLY = ("schema", "internal_schema", "staging")


def json_schema() -> Node:
    """Return the schema (draft 2020-12) of what a pipeline file may hold.

    It says what the model says, and also allows what the reader turns into the model: names and
    mappings as streams, URL strings, scalars for lists of one. Reserved keys are left out.
    """
    schema = PipelineSpec.model_json_schema(by_alias=True, mode="validation")
    definitions: Node = schema.pop("$defs")
    connection: Node = definitions.pop("ConnectionSpec")
    for model in (schema, *definitions.values()):
        open_scalars(model["properties"])
    for name in ("StreamDefaults", "StreamSpec"):
        _stream_keys(definitions[name])
    for model in definitions.values():
        _rule_keys(model["properties"])
    stream: Node = definitions["StreamSpec"]
    stream["oneOf"] = [{"required": [key]} for key in ("table", "query", "path")]
    keys: Node = schema["properties"]
    for end in ("source", "destination"):
        definitions[end] = _connection(connection, destination=end == "destination")
        keys[end] = {"$ref": f"#/$defs/{end}", "description": keys[end]["description"]}
    rule = keys["notify"]["items"]
    keys["notify"] = {
        "description": keys["notify"]["description"],
        "anyOf": [rule, {"type": "array", "items": rule}],
    }
    _receivers(definitions)
    keys["defaults"] = {
        "$ref": "#/$defs/StreamDefaults",
        "description": keys["defaults"]["description"],
    }
    table = {
        "type": "string",
        "minLength": 1,
        "description": "A table (for a source of files: a path), with mode: replace.",
    }
    keys["streams"] = {
        "description": keys["streams"]["description"],
        "anyOf": [
            table,
            {
                "type": "array",
                "minItems": 1,
                "items": {"anyOf": [table, {"$ref": "#/$defs/StreamSpec"}]},
            },
        ],
    }
    head = {"$schema": DIALECT, "title": "Conduit pipeline"}
    return {**head, **{k: v for k, v in schema.items() if k != "title"}, "$defs": definitions}


def open_scalars(properties: Node) -> None:
    """Let a list of one be written as its item, and drop titles and defaults that say nothing."""
    for key, node in properties.items():
        node.pop("title", None)
        _drop_default(node)
        lists = [part for part in (node, *node.get("anyOf", ())) if part.get("type") == "array"]
        if lists and "items" in lists[0] and "$ref" not in lists[0]["items"]:
            array = {k: v for k, v in lists[0].items() if k not in {"description", "default"}}
            kept = {k: v for k, v in node.items() if k in {"description", "default"}}
            properties[key] = {**kept, "anyOf": [array["items"], array]}


def _drop_default(node: Node) -> None:
    """Drop a default that says nothing, and durations', which pydantic writes as ISO 8601."""
    if node.get("default") in ("", None, []) or "pattern" in node:
        node.pop("default", None)


def _stream_keys(model: Node) -> None:
    properties: Node = model["properties"]
    properties["on_schema_change"] = {
        "description": properties["on_schema_change"]["description"],
        "anyOf": [{"enum": list(WORDS)}, {"$ref": "#/$defs/SchemaChangeSpec"}],
    }
    splits: Node = properties["splits"]
    number = {"type": "integer", "minimum": 1, "maximum": MAX_SPLITS}
    splits["anyOf"] = [number, {"$ref": "#/$defs/SplitsSpec"}]
    deletes: Node = properties["deletes"]
    word = {"enum": ["snapshot"]}  # the one way that needs no more to be said
    deletes["anyOf"] = [word, {"$ref": "#/$defs/DeletesSpec"}]
    initial: Node = properties["initial"]
    initial.pop("anyOf", None)
    initial["type"] = ["string", "number"]


def _receivers(definitions: Node) -> None:
    """Let a receiver be its URL, and a rule have one without a list around it."""
    url = {"type": "string", "pattern": "^[A-Za-z$][^ ]*$", "description": "A URL."}
    one = {"anyOf": [url, {"$ref": "#/$defs/ReceiverSpec"}]}
    to: Node = definitions["NotifyRule"]["properties"]["to"]
    told = {"description": to["description"]}
    definitions["NotifyRule"]["properties"]["to"] = {
        **told,
        "anyOf": [*one["anyOf"], {"type": "array", "minItems": 1, "items": one}],
    }
    receiver: Node = definitions["ReceiverSpec"]
    receiver["oneOf"] = [{"required": [key]} for key in ("url", "connection")]


def _rule_keys(properties: Node) -> None:
    """Let a rule say ``column``, and a step name its columns without a mapping."""
    if "rule" in properties and "columns" in properties:
        properties["column"] = {"type": "string", "minLength": 1, "description": "One column."}
        properties["rule"]["description"] = "Which rule it is."
    for step in ("hash", "mask"):
        if "$ref" in properties.get(step, {}):
            name = {"type": "string", "minLength": 1}
            names = {"type": "array", "items": name, "minItems": 1}
            told = f"The columns to {step}, and how."
            properties[step] = {"description": told, "anyOf": [name, names, properties[step]]}


def _connection(model: Node, *, destination: bool) -> Node:
    dropped = {"options"} | (set() if destination else set(_DESTINATION_ONLY))
    properties = {key: node for key, node in model["properties"].items() if key not in dropped}
    for node in properties.values():
        node.pop("title", None)
        _drop_default(node)
    mapping: Node = {
        "type": "object",
        "description": "The type and the connector's own options, or a named connection.",
        "properties": properties,
        "anyOf": [{"required": [key]} for key in ("type", "connection", "url")],
    }
    refused = set(_DESTINATION_ONLY) - set(properties)
    mapping["propertyNames"] = {"not": {"enum": sorted(refused)}} if refused else True
    text = {"type": "string", "minLength": 1, "description": f"A URL or a path: {URL_FORMS}."}
    return {"anyOf": [text, mapping]}

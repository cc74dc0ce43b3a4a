"""YAML files that people write too: things are added at their place, all else stays as it is.

A file is parsed for the positions of its parts, and new text is put in between them. So comments,
order, quotes, line ends, indentation and line breaks inside values are kept by construction. The
parser is the one that dbt and the pipeline file are read with, so both sides mean the same YAML.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TypeAlias

import yaml
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from conduit_core.errors import ConfigError

_BREAKS = re.compile("[\n\r\x85\u2028\u2029\ufeff]")
Collection: TypeAlias = "MappingNode | SequenceNode"
_NULL = "tag:yaml.org,2002:null"
_MERGE = "tag:yaml.org,2002:merge"


class Flow(list[object]):
    """A list that is written on one line: ``[a, b]``."""


class FlowMap(dict[str, object]):
    """A mapping that is written on one line: ``{a: 1}``."""


class _Dumper(yaml.SafeDumper):
    """Writes lists inside mappings with or without indentation, as the file does."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:  # noqa: FBT001, FBT002 - PyYAML's signature
        super().increase_indent(flow, indentless and not self.indents_lists)

    indents_lists = True

    def ignore_aliases(self, data: object) -> bool:
        return True


class _TightDumper(_Dumper):
    indents_lists = False


def _represent_text(dumper: yaml.SafeDumper, text: str) -> ScalarNode:
    """Escape line ends, so that a text is one line of the file."""
    style = '"' if _BREAKS.search(text) else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


for _dumper in (_Dumper, _TightDumper):
    _dumper.add_representer(str, _represent_text)
    _dumper.add_representer(
        Flow, lambda d, v: d.represent_sequence("tag:yaml.org,2002:seq", v, flow_style=True)
    )
    _dumper.add_representer(
        FlowMap, lambda d, v: d.represent_mapping("tag:yaml.org,2002:map", v, flow_style=True)
    )


def dump(
    value: object, *, flow: bool = False, indents_lists: bool = True, style: str | None = None
) -> str:
    """Return YAML for plain data; in flow style it is one line without a line end.

    Args:
        value: the data.
        flow: whether it is for a place between brackets, where a text with a comma needs quotes.
        indents_lists: whether lists in mappings are indented.
        style: the quotes of texts; None: as they need them.
    """
    text: str = yaml.dump(
        [value] if flow else value,
        Dumper=_Dumper if indents_lists else _TightDumper,
        default_flow_style=flow,
        default_style=style,
        sort_keys=False,
        allow_unicode=True,
        width=2**30,
    )
    return text.rstrip("\n")[1:-1] if flow else text


class YamlText:
    """A YAML file and the changes that are to be made in it.

    Args:
        text: the file's text.
        file: its name, for errors.

    Raises:
        ConfigError: it isn't one YAML document.
    """

    def __init__(self, text: str, file: str) -> None:
        self._bom = "\ufeff" if text.startswith("\ufeff") else ""
        self._text = text.removeprefix("\ufeff")
        self._newline = "\r\n" if "\r\n" in text else "\n"
        self._edits: list[tuple[int, int, int, str]] = []  # start, order among equals, end, text
        self._grown: set[int] = set()
        try:
            self.root: Node | None = yaml.compose(self._text, Loader=yaml.SafeLoader)
        except yaml.YAMLError as error:
            mark = getattr(error, "problem_mark", None)
            at = f"{file}:{mark.line + 1}" if mark else file
            what = getattr(error, "problem", None) or "it can't be read"
            raise ConfigError(f"{at}: this is no YAML: {what}", command="dbt parse") from None
        self._indents_lists = _indents_lists(self.root)
        self._in_brackets = frozenset(
            id(each)
            for node in (_walk(self.root) if self.root is not None else ())
            if isinstance(node, MappingNode | SequenceNode) and node.flow_style
            for each in _children(node)
        )
        self._shared = _named_twice(self.root) if self.root is not None else frozenset[int]()

    def add(self, mapping: MappingNode, key: str, value: object) -> None:
        """Add a key at the end of a mapping that hasn't got it."""
        self._grow(mapping, {key: value}, flow=self._dump({key: value}, flow=True)[1:-1])

    def append(self, sequence: SequenceNode, value: object) -> None:
        """Add an item at the end of a list."""
        self._grow(sequence, [value], flow=self._dump(value, flow=True))

    def put(self, mapping: MappingNode, key: str, value: object) -> None:
        """Add a key, or fill it where it is there and empty."""
        there = child(mapping, key)
        if there is None:
            self.add(mapping, key, value)
            return
        start, end = there.start_mark.index, there.end_mark.index
        if mapping.flow_style or not isinstance(value, dict | list) or not value:
            space = "" if self._text[start - 1 : start].isspace() else " "
            self._edit(start, end, space + self._dump(value, flow=True))
            return
        while start < end and self._text[start - 1] == " ":
            start -= 1
        if start < end:
            self._edit(start, end, "")
        indent = _column(mapping)
        is_list = isinstance(value, list) and not self._indents_lists
        self._insert(self._line_end(end), indent if is_list else indent + 2, value)

    def replace(self, scalar: ScalarNode, value: str) -> None:
        """Put another text in a scalar's place, in the quotes that it has."""
        style = scalar.style if scalar.style in {"'", '"'} else None
        text = dump(value, flow=id(scalar) in self._in_brackets, style=style)
        new = text.removesuffix("...\n").rstrip("\n")
        self._edit(scalar.start_mark.index, scalar.end_mark.index, new)

    def unfold(self, listed: SequenceNode, scalar: ScalarNode, key: str, more: object) -> None:
        """Make a mapping of a list's plain item: the item is ``key``'s value, ``more`` follows."""
        start, end = scalar.start_mark.index, scalar.end_mark.index
        if listed.flow_style:
            self._edit(start, start, f"{{{key}: ")
            self._edit(end, end, f", {self._dump(more, flow=True)[1:]}")
            return
        self._edit(start, start, f"{key}: ")
        self._insert(self._line_end(end), int(scalar.start_mark.column), more)

    def shares(self, node: Node) -> bool:
        """Tell whether a part has anchors, aliases or merge keys: a change may change others."""
        return any(id(each) in self._shared or each.tag == _MERGE for each in _walk(node))

    def borrows(self, mapping: MappingNode, key: str) -> bool:
        """Tell whether a mapping's value stands elsewhere too, or may come by a merge key."""
        merges = any(name.tag == _MERGE for name, _ in mapping.value)
        return merges or id(child(mapping, key)) in self._shared

    def text(self) -> str:
        """Return the file's text with all changes."""
        out, at = [self._bom], 0
        for start, _, end, new in sorted(self._edits):
            out += [self._text[at:start], new]
            at = end
        return "".join([*out, self._text[at:]])

    def _dump(self, value: object, *, flow: bool = False) -> str:
        return dump(value, flow=flow, indents_lists=self._indents_lists)

    def _edit(self, start: int, end: int, new: str, depth: int = 0) -> None:
        self._edits.append((start, (-depth << 32) + len(self._edits), end, new))

    def _grow(self, node: Collection, value: object, *, flow: str) -> None:
        if not node.flow_style and node.value:
            self._insert(self._line_end(_end(node, self._text)), _column(node, self._text), value)
            return
        at = node.end_mark.index - 1
        first = id(node) not in self._grown
        self._grown.add(id(node))
        behind = self._text[_end(_last(node), self._text) : at] if node.value else ""
        has_comma = "," in re.sub(r"#[^\n]*", "", behind)
        ready = first and (has_comma or not node.value)
        self._edit(at, at, flow if ready else f", {flow}")

    def _insert(self, at: int, indent: int, value: object) -> None:
        pad = " " * indent
        dumped = self._dump(value).rstrip("\n").split("\n")
        lines = [pad + line if line else line for line in dumped]
        new = self._newline.join([*lines, ""])
        if at == len(self._text) and self._text[at - 1 : at] not in {"", "\n"}:
            new = self._newline + new.removesuffix(self._newline)
        # Of two that begin at the same place the deeper one belongs to what stands above.
        self._edit(at, at, new, depth=2 * indent + isinstance(value, list))

    def _line_end(self, index: int) -> int:
        if index and self._text[index - 1] == "\n":
            return index
        found = self._text.find("\n", index)
        return len(self._text) if found < 0 else found + 1


def child(mapping: Node | None, key: str) -> Node | None:
    """Return the value of a mapping's key, or None; a key that comes by a merge isn't seen."""
    if not isinstance(mapping, MappingNode):
        return None
    pairs = ((k, v) for k, v in mapping.value if isinstance(k, ScalarNode))
    return next((value for name, value in pairs if name.value == key), None)


def text_of(mapping: Node | None, key: str) -> str:
    """Return a mapping's scalar as text; empty if it is missing or no scalar."""
    node = child(mapping, key)
    is_text = isinstance(node, ScalarNode) and node.tag != _NULL
    return str(node.value) if is_text and node is not None else ""


def items(mapping: Node | None, key: str) -> list[Node]:
    """Return the items of a mapping's list; nothing if it is missing or no list."""
    node = child(mapping, key)
    return list(node.value) if isinstance(node, SequenceNode) else []


def is_empty(node: Node | None) -> bool:
    """Tell whether a value is missing, null, or a list or mapping without items."""
    if isinstance(node, ScalarNode):
        return bool(node.tag == _NULL)
    return node is None or not node.value


def plain(node: Node | None) -> object:
    """Return a part of a file as plain data.

    Raises:
        ConfigError: a value has a tag that plain YAML hasn't.
    """
    if node is None:
        return None
    loader = yaml.SafeLoader("")
    try:
        value: object = loader.construct_document(node)
    except yaml.YAMLError as error:
        raise ConfigError(f"this is no plain YAML: {error}", command="dbt parse") from None
    finally:
        loader.dispose()
    return value


def _children(node: Node) -> Iterator[Node]:
    if isinstance(node, MappingNode):
        for key, value in node.value:
            yield key
            yield value
    elif isinstance(node, SequenceNode):
        yield from node.value


def _walk(node: Node, seen: set[int] | None = None) -> Iterator[Node]:
    """Yield a node and all below it, each once."""
    seen = set() if seen is None else seen
    if id(node) not in seen:
        seen.add(id(node))
        yield node
        for each in _children(node):
            yield from _walk(each, seen)


def _named_twice(root: Node) -> frozenset[int]:
    """Return the parts that stand in several places, by anchor and alias."""
    uses = Counter(id(each) for parent in _walk(root) for each in _children(parent))
    return frozenset(each for each, count in uses.items() if count > 1)


def _last(node: Node) -> Node:
    return max(_children(node), key=lambda each: each.end_mark.index)


def _end(node: Node, text: str) -> int:
    """Return where a node's content ends: before the comments and blank lines that follow it."""
    start, end = node.start_mark.index, node.end_mark.index
    if isinstance(node, ScalarNode):
        is_block = node.style in {"|", ">"}
        if is_block and "+" not in text[start : text.find("\n", start)]:
            return len(text[:end].rstrip()) + 1 if text[:end].endswith("\n") else end
        return int(end)
    if not isinstance(node, MappingNode | SequenceNode) or node.flow_style or not node.value:
        return int(end)
    inside = [each for each in _children(node) if each.start_mark.index >= start]
    return max(_end(each, text) for each in inside)


def _column(node: Collection, text: str = "") -> int:
    """Return the column in which a block collection's keys or dashes stand."""
    if isinstance(node, MappingNode):
        return int(node.value[0][0].start_mark.column) if node.value else 0
    first = node.value[0].start_mark.index
    dash = text.rfind("-", 0, first)
    return dash - (text.rfind("\n", 0, dash) + 1)


def _indents_lists(root: Node | None) -> bool:
    """Tell how a file writes lists inside mappings, by the first that it has."""
    for node in _walk(root) if root is not None else ():
        for key, value in node.value if isinstance(node, MappingNode) else ():
            is_block = isinstance(value, SequenceNode) and value.value and not value.flow_style
            if is_block and value.start_mark.line > key.start_mark.line:
                return bool(value.start_mark.column > key.start_mark.column)
    return True

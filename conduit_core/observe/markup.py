"""HTML as a tree: texts stay texts until they are written, so none can become markup."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from xml.etree import ElementTree as ET

Node = ET.Element
_UNSHOWABLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""What HTML or UTF-8 can't hold, and what would turn the text around it."""


def el(tag: str, /, *children: Node | str, **attributes: str) -> Node:
    """Return an element; ``class_`` is ``class``, ``http_equiv`` is ``http-equiv``; empty ones go.

    Attributes are ours: what comes from data is a child.
    """
    given = {key.rstrip("_").replace("_", "-"): value for key, value in attributes.items() if value}
    node = Node(tag, given)
    for child in children:
        if isinstance(child, Node):
            node.append(child)
        elif len(node):
            node[-1].tail = (node[-1].tail or "") + child
        else:
            node.text = (node.text or "") + child
    return node


def number_cell(text: str) -> Node:
    """Return a table's cell with a number."""
    return el("td", text, class_="number")


def table(caption: str, headings: Sequence[str], rows: Sequence[Node]) -> Node:
    """Return a table, which scrolls by itself where the page is narrow.

    A heading stands as its column's first cell does: numbers to the right.
    """
    cells = [list(row)[slot].get("class", "") for row in rows[:1] for slot in range(len(headings))]
    heads = [
        el("th", heading, scope="col", **({"class_": "number"} if kind == "number" else {}))
        for heading, kind in zip(headings, cells, strict=True)
    ]
    body = el("table", el("caption", caption), el("thead", el("tr", *heads)), el("tbody", *rows))
    return el("div", body, class_="scroll", tabindex="0", role="region", aria_label=caption)


def write(root: Node, mask: Callable[[str], str]) -> str:
    """Return the document as text; each text in it is masked, and shown where it can't be held."""
    for node in root.iter():
        if node.tag != "style":
            node.text = _shown(node.text, mask)
        node.tail = _shown(node.tail, mask)
    return "<!DOCTYPE html>\n" + ET.tostring(root, encoding="unicode", method="html") + "\n"


def _shown(text: str | None, mask: Callable[[str], str]) -> str | None:
    if not text:
        return text
    return _UNSHOWABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", mask(text))

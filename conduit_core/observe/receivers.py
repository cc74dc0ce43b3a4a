"""Where metrics, traces and lineage go: a list of URLs, the same in every runner."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import SplitResult, urlsplit

from conduit_core.errors import ConfigError

OBSERVE = "CONDUIT_OBSERVE"
"""Receivers, separated by commas or blanks: ``prometheus://:9464 otlp+http://collector:4318``."""

KINDS = {
    "prometheus": "conduit_core.observe.prometheus:open_endpoint",
    "pushgateway": "conduit_core.observe.pushgateway:open_pushgateway",
    "textfile": "conduit_core.observe.textfile:open_textfile",
    "otlp": "conduit_core.observe.otlp:open_otlp",
    "dogstatsd": "conduit_core.observe.dogstatsd:open_dogstatsd",
    "emf": "conduit_core.observe.emf:open_emf",
    "openlineage": "conduit_core.observe.openlineage:open_openlineage",
}
"""Who makes a sink of a receiver's URL, by the URL's scheme up to a ``+``."""

EXTRAS = {
    "prometheus": "prometheus",
    "pushgateway": "prometheus",
    "textfile": "prometheus",
    "otlp": "otlp",
    "dogstatsd": "datadog",
    "openlineage": "openlineage",
}
"""The extra that a kind's packages come with."""

HEAR_BATCHES = frozenset({"prometheus", "otlp"})
"""Who has a use for each batch: the queue's fill while rows move, and spans of batches."""
LISTENING = frozenset({"prometheus"})
"""Who serves what it has, from the run's beginning on."""
WRITING = frozenset({"textfile", "emf"})
"""Who writes to a file, at the run's end."""
_FILES = frozenset({"textfile", "emf", "dogstatsd"})
"""Kinds whose path is a file's, in which any character may stand."""
_ESCAPES = "in a user, a password or a path, write %2F for /, %3F for ?, %23 for # and %40 for @"
OF_PREFECT = (
    "`block:NAME` is for flows of Prefect alone, which have the block's receivers: runs from here"
    " tell none"
)
"""What is said of such a word where it isn't read."""


@dataclass(frozen=True, slots=True)
class Receiver:
    """A receiver.

    Args:
        kind: one of :data:`KINDS`.
        transport: what stands behind the ``+`` of its scheme: ``http``, ``https``, ``grpc``.
        url: the rest; it may hold a secret.
    """

    kind: str
    transport: str
    url: SplitResult

    def __repr__(self) -> str:
        return self.shown

    @property
    def shown(self) -> str:
        """Its name in messages, in a form that can be written: without user, password and query."""
        scheme = f"{self.kind}+{self.transport}" if self.transport else self.kind
        host = self.url.netloc.rpartition("@")[2]
        if not host and not self.url.path:
            return scheme
        slashes = "//" if host or self.url.path.startswith("/") else ""
        return f"{scheme}:{slashes}{host}{self.url.path}"


def words_of(given: str | Iterable[str] | None) -> tuple[str, ...]:
    """Return URLs of receivers, each once; None: those that ``CONDUIT_OBSERVE`` names."""
    text = os.environ.get(OBSERVE, "") if given is None else given
    items = [text] if isinstance(text, str) else list(text)
    return tuple(dict.fromkeys(w for item in items for w in re.split(r"[,\s]+", item) if w))


def is_of_prefect(word: str) -> bool:
    """Say whether a word is ``block:NAME``, which Prefect's flows read in place of URLs."""
    return word.lower().startswith("block:")


def receiver_of(word: str) -> Receiver:
    """Read a receiver's URL.

    Raises:
        ConfigError: it isn't one.
    """
    scheme, _, rest = word.partition(":")
    kind, _, transport = scheme.lower().partition("+")
    if is_of_prefect(word):
        raise ConfigError(f"{OBSERVE}: {OF_PREFECT}", command="conduit run --help")
    if kind not in KINDS:
        known = ", ".join(KINDS)
        # what isn't of a URL's form may be a part of a password, which a comma has cut
        is_shown = "@" not in word and kind.isalnum()
        named = f"no receiver is called {kind!r}" if is_shown else "one of the words is no URL"
        raise ConfigError(f"{OBSERVE}: {named}; there are {known}", command="conduit run --help")
    try:
        url = urlsplit(f"{kind}:{rest}")
        _ = url.port
    except ValueError:  # its text may show a password
        raise _wrong(kind, "its host or port can't be read") from None
    if transport and not transport.isalpha():
        raise _wrong(kind, f"it begins with {kind}+http:// and the like")
    if "@" in url.path + url.query + url.fragment and (url.netloc or kind not in _FILES):
        raise _wrong(kind, "an @ stands behind its host")
    return Receiver(kind, transport, url)


def need_folder(file: Path) -> None:
    """Look whether a receiver's file has a folder: nobody makes one for a name that is mistyped.

    Raises:
        ConfigError: it has none.
    """
    if not file.parent.is_dir():
        raise ConfigError(
            f"there is no folder {file.parent}; make it, or give another file",
            command="conduit run --help",
        )


def _wrong(kind: str, why: str) -> ConfigError:
    return ConfigError(
        f"{OBSERVE}: the URL of a {kind} receiver is wrong: {why}; {_ESCAPES}",
        command="conduit run --help",
    )

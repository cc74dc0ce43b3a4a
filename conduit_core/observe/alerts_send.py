"""Sends alerts: webhooks of our own over HTTP, everything else by apprise; all in a bounded time.

A receiver's URL is a secret. Libraries log URLs, so what they log while they send is kept back, and
reasons are masked.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import logging
import random
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, urlsplit

from conduit_core.observe.alerts_facts import cut
from conduit_core.spec.notify import OPEN_HOSTS, ReceiverSpec, notify_secrets
from conduit_core.spec.secrets import is_secret_key, masking

if TYPE_CHECKING:
    import httpx
    from apprise import NotifyBase

    from conduit_core.observe.alerts_text import Message

TIMEOUT = 5.0
"""Seconds that a webhook has for one answer."""
_TRIES = 4
_WAIT = 0.25
"""Before the second try; it doubles."""
_PASSING = (408, 425, 429)
"""What a webhook answers that takes the same later: too slow, too early, too often."""
_SERVICES = (
    "hooks.slack.com",
    "discord.com",
    "discordapp.com",
    "chat.googleapis.com",
    "webhook.office.com",
    "logic.azure.com",
)
"""Hosts of webhooks that take no body but their own; apprise knows them."""
REMEDY = "pip install 'conduit-load[notify]'"
"""What is said where a package isn't there."""
_LOGGERS = ("apprise", "httpx", "urllib3.connectionpool")


@dataclass(frozen=True, slots=True, repr=False)
class Target:
    """A receiver, ready to be told.

    Args:
        name: how it is called in messages, without secrets.
        url: where.
        secret: what a webhook's body is signed with, or None.
        digest: what makes it itself, without its password.
        mask: takes its secrets out of a text.
    """

    name: str
    url: str
    secret: str | None
    digest: str
    mask: Callable[[str], str]

    def __repr__(self) -> str:
        return f"Target({self.name})"

    @property
    def is_webhook(self) -> bool:
        """Whether it gets our own JSON body."""
        parts = urlsplit(self.url)
        host = (parts.hostname or "").lower()
        known = any(host == s or host.endswith(f".{s}") for s in _SERVICES)
        return parts.scheme.lower() in {"http", "https"} and not known


def target_of(receiver: ReceiverSpec, connection: str | None = None) -> Target:
    """Return a receiver as a target.

    Args:
        receiver: one with a URL.
        connection: the name it was found by.

    Raises:
        ValueError: the URL is none.
    """
    url = receiver.url.get_secret_value().strip() if receiver.url is not None else ""
    parts = urlsplit(url)
    scheme, (login, _, host) = parts.scheme.lower(), parts.netloc.rpartition("@")
    # an @ behind the host: a password with a slash in it may stand in the host's place
    is_open = scheme in OPEN_HOSTS and "@" not in parts.path + parts.fragment
    name = f"{scheme}://{host if is_open else '...'}"
    query = [(k, v) for k, v in parse_qsl(parts.query) if not is_secret_key(k)]
    own = json.dumps([scheme, login.partition(":")[0], host, parts.path, query])
    return Target(
        name=f"connection {connection}" if connection else name,
        url=url,
        secret=receiver.secret.get_secret_value() if receiver.secret is not None else None,
        digest=hashlib.sha256(own.encode("utf-8", "surrogatepass")).hexdigest()[:16],
        mask=masking(notify_secrets((receiver,))),
    )


def signature(secret: str, body: bytes, at: int) -> str:
    """Return the header ``Conduit-Signature`` of a body sent at a time (seconds since 1970)."""
    signed = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={at},v1={signed}"


class NotSentError(Exception):
    """A receiver didn't take an alert; the message has no secret.

    Args:
        message: why not.
        is_refusal: whether it never will: its URL, or the token in it, has to be corrected.
    """

    def __init__(self, message: str, *, is_refusal: bool = False) -> None:
        super().__init__(message)
        self.is_refusal = is_refusal


@dataclass(slots=True)
class Post:
    """All that one receiver is told, and what became of each message: None, or why not.

    ``refused`` are the messages that it will never take.
    """

    target: Target
    messages: Sequence[Message]
    outcomes: dict[int, str | None] = field(default_factory=dict)
    refused: set[int] = field(default_factory=set)


def send_all(posts: Sequence[Post], seconds: float) -> None:
    """Tell all receivers side by side; what isn't done in time is given up."""
    deadline = time.monotonic() + seconds
    threads = []
    for post in posts:
        args = (post, deadline)
        thread = threading.Thread(target=_send, args=args, name="alert", daemon=True)
        thread.start()
        threads.append(thread)
    for thread in threads:
        thread.join(max(deadline - time.monotonic(), 0.0))
    for post in posts:
        for number in range(len(post.messages)):
            post.outcomes.setdefault(number, f"no answer in {seconds:.0f} s")


def _send(post: Post, deadline: float) -> None:
    with _kept_back.listening() as lines:
        for number, message in enumerate(post.messages):
            error = _sent(post.target, message, deadline, lines)
            if isinstance(error, NotSentError) and error.is_refusal:
                post.refused.add(number)
            told = None if error is None else cut(post.target.mask(_named(error)))
            post.outcomes.setdefault(number, told)


def _sent(target: Target, message: Message, deadline: float, lines: list[str]) -> Exception | None:
    """Tell a receiver; return None, or why it wasn't told."""
    try:
        if target.is_webhook:
            _post(target, message, deadline)
        else:
            _notify(target, message, lines)
    except Exception as error:  # noqa: BLE001 - whatever a receiver does, the load stands
        return error
    return None


def _named(error: Exception) -> str:
    if isinstance(error, NotSentError):
        return str(error)
    if isinstance(error, ImportError):
        return f"{error}; {REMEDY}"
    return f"{type(error).__name__}: {error}"


# --- webhooks -------------------------------------------------------------------------------------


def _post(target: Target, message: Message, deadline: float) -> None:
    """Post a message; a failure that may pass is tried again, a few times, until the deadline.

    Not by stamina: it tells of each try on its own, by structlog, on stdout.
    """
    import httpx

    body = json.dumps(message.body(), separators=(",", ":"), default=str).encode()
    with httpx.Client(timeout=TIMEOUT, follow_redirects=False) as client:
        for tried in range(_TRIES):
            told, asked = _try(client, target, message.key, body)
            if told is None:
                return
            jitter = 1 + random.random()  # noqa: S311 - no secret
            pause = _WAIT * 2**tried * jitter if asked is None else asked
            last = tried == _TRIES - 1 or time.monotonic() + pause >= deadline
            if last or pause < 0:
                raise NotSentError(told, is_refusal=pause < 0)
            time.sleep(pause)


def _try(
    client: httpx.Client, target: Target, key: str, body: bytes
) -> tuple[str | None, float | None]:
    """Post once; return why it wasn't taken, and how long to wait: -1 where waiting won't help."""
    import httpx

    headers = {"Content-Type": "application/json", "Idempotency-Key": key}
    headers["User-Agent"] = "conduit-load"
    if target.secret is not None:
        headers["Conduit-Signature"] = signature(target.secret, body, int(time.time()))
    try:
        with client.stream("POST", target.url, content=body, headers=headers) as answer:
            status, after = answer.status_code, answer.headers.get("Retry-After", "")
    except (httpx.TransportError, httpx.StreamError) as error:
        return f"{type(error).__name__}: {error}", None
    if status < 300:
        return None, None
    if status in _PASSING or status >= 500:
        return f"answered {status}", _seconds(after)
    return f"answered {status}", -1.0


def _seconds(after: str) -> float | None:
    """Return how long a ``Retry-After`` asks to wait; None where it doesn't."""
    if not after:
        return None
    try:
        return max(float(after), 0.0)
    except ValueError:
        pass
    try:
        return max(parsedate_to_datetime(after).timestamp() - time.time(), 0.0)
    except (TypeError, ValueError):
        return None


# --- apprise --------------------------------------------------------------------------------------


def service_of(target: Target) -> NotifyBase:
    """Return what apprise makes of a URL; nothing is sent.

    Raises:
        NotSentError: it knows no such URL, or something is missing in it.
    """
    from apprise import Apprise, AppriseAsset

    asset = AppriseAsset(
        app_id="Conduit",
        app_desc="Conduit Core",
        app_url="",
        image_url_mask="",
        async_mode=False,
        storage_mode="memory",
    )
    made = Apprise.instantiate(target.url, asset=asset)
    if made is None:
        raise NotSentError(
            "apprise knows no such URL, or a part of it is missing; each service's form is in"
            " apprise's own documentation",
            is_refusal=True,
        )
    return made


def _notify(target: Target, message: Message, lines: list[str]) -> None:
    from apprise import Apprise, NotifyFormat, NotifyType

    service = service_of(target)
    kinds = {"failure": NotifyType.FAILURE, "stale": NotifyType.WARNING}
    kinds |= {"rejected": NotifyType.WARNING, "schema_change": NotifyType.INFO}
    text = message.text(min(service.body_maxlen - len(message.title), 10_000))
    sender = Apprise(asset=service.asset)
    sender.add(service)
    lines.clear()
    sent = sender.notify(
        body=text,
        title=message.title,
        notify_type=kinds.get(message.word, NotifyType.SUCCESS),
        body_format=NotifyFormat.TEXT,
    )
    if not sent:
        raise NotSentError(" ".join(lines) or "the service didn't take it")


# --- what libraries log ---------------------------------------------------------------------------


class _KeptBack(logging.Filter):
    """Keeps back what libraries log in threads that send; apprise's warnings say why it failed."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[int, list[str]] = {}

    @contextmanager
    def listening(self) -> Iterator[list[str]]:
        """Keep back what this thread logs until the block ends; warnings go into the list."""
        for name in _LOGGERS:
            logging.getLogger(name).addFilter(self)  # once: it is known there by then
        lines = self._lines[threading.get_ident()] = []
        try:
            yield lines
        finally:
            del self._lines[threading.get_ident()]

    def filter(self, record: logging.LogRecord) -> bool:
        """Say whether a record goes on."""
        lines = self._lines.get(threading.get_ident())
        if lines is None:
            return True
        if record.levelno >= logging.WARNING:
            lines.append(record.getMessage())
        return False


_kept_back = _KeptBack()

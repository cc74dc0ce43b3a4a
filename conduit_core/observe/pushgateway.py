"""A Prometheus Pushgateway, for processes that end: a group for each pipeline and stream."""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from typing import TYPE_CHECKING
from urllib.error import HTTPError, URLError
from urllib.parse import parse_qs, unquote
from urllib.request import HTTPRedirectHandler, Request, build_opener

from prometheus_client import CollectorRegistry, pushadd_to_gateway

from conduit_core.errors import ConfigError, ConnectionFailedError
from conduit_core.observe.book import SHARE, Book
from conduit_core.observe.prometheus_text import Samples, add, read, registry_of
from conduit_core.observe.receivers import OBSERVE

if TYPE_CHECKING:
    from conduit_core.events import Event
    from conduit_core.observe.observing import Scene
    from conduit_core.observe.receivers import Receiver

_JOB = "conduit"
_PORT = 9091
_OF_GATEWAY = ("job", "instance")
"""Labels that the gateway adds to what it shows."""

Group = tuple[str, str | None]
"""Pipeline and stream; None: what is the pipeline's own."""


class Pushgateway:
    """Adds a run's values to those that a gateway has, group by group."""

    def __init__(
        self, base: str, job: str, user: str | None, password: str | None, scene: Scene
    ) -> None:
        self._base = base
        self._job = job
        self._user = user
        self._password = password
        self._book = Book(scene.complain)

    def __call__(self, event: Event) -> None:
        """Take an event in."""
        self._book(event)

    def close(self, seconds: float) -> None:
        """Read the groups that the run has values for, add to them, and push them.

        Raises:
            ConnectionFailedError: the gateway can't be reached, or refuses.
        """
        if not self._book:
            return
        seconds *= SHARE
        deadline = time.monotonic() + seconds
        with _asking():
            there = self._there(deadline)
        groups = self._groups(there)
        for position, ((pipeline, stream), samples) in enumerate(groups.items()):
            left = deadline - time.monotonic()
            if left <= 0:
                raise ConnectionFailedError(
                    f"it took {position} of {len(groups)} groups in {seconds:.1f} s",
                    command="conduit run --help",
                )
            key = {"pipeline": pipeline, **({} if stream is None else {"stream": stream})}
            with _asking():
                self._push(registry_of(samples), key, left)

    def _groups(self, there: dict[Group, Samples]) -> dict[Group, Samples]:
        """Return the groups that the run has values for, with those values added."""
        groups: dict[Group, Samples] = {}
        for metric, labels, values in self._book:
            named = dict(zip(metric.labels, labels, strict=True))
            group = (named["pipeline"], named.get("stream"))
            add(groups.setdefault(group, there.get(group, {})), metric, labels, values)
        return groups

    def _there(self, deadline: float) -> dict[Group, Samples]:
        """Return what the gateway has for this job."""
        request = Request(f"{self._base}/metrics", headers=self._headers())  # noqa: S310 - http or https
        lines: list[str] = []
        opener = build_opener(_Stay)
        with opener.open(request, timeout=max(deadline - time.monotonic(), 0.1)) as answer:
            for raw in answer:
                line: str = raw.decode()
                if line.startswith(("conduit_", "# TYPE conduit_")):
                    lines.append(line)
                if time.monotonic() > deadline:
                    raise TimeoutError("it didn't say in time what it has")
        mine = f'job="{_escaped(self._job)}"'
        text = "".join(line for line in lines if line.startswith("#") or mine in line)
        found: dict[Group, Samples] = {}
        for sample, value in read(text, without=_OF_GATEWAY).items():
            group = (sample.label("pipeline") or "", sample.label("stream"))
            found.setdefault(group, {})[sample] = value
        return found

    def _push(self, registry: CollectorRegistry, key: dict[str, str], seconds: float) -> None:
        pushadd_to_gateway(
            self._base, self._job, registry, grouping_key=key, timeout=seconds, handler=self._post
        )

    def _post(
        self,
        url: str,
        method: str,
        timeout: float | None,
        headers: list[tuple[str, str]],
        data: bytes,
    ) -> Callable[[], None]:
        """Return what sends a request; the client's own handlers follow redirects."""
        asked = {**dict(headers), **self._headers()}
        request = Request(url, data, asked, method=method)  # noqa: S310 - http or https

        def post() -> None:
            with build_opener(_Stay).open(request, timeout=timeout):
                pass

        return post

    def _headers(self) -> dict[str, str]:
        if self._user is None:
            return {}
        pair = b64encode(f"{self._user}:{self._password}".encode()).decode()
        return {"Authorization": f"Basic {pair}"}


def open_pushgateway(receiver: Receiver, scene: Scene) -> Pushgateway:
    """Push a run's values: ``pushgateway[+https]://[user:password@]host[:9091][/prefix][?job=]``.

    Raises:
        ConfigError: the URL names no gateway.
    """
    url, query = receiver.url, parse_qs(receiver.url.query)
    unknown = sorted(set(query) - {"job"})
    if not url.hostname or receiver.transport not in {"", "http", "https"} or unknown:
        raise ConfigError(
            f"{OBSERVE}: a Pushgateway is `pushgateway://host:9091/prefix?job=conduit`, or"
            " `pushgateway+https://...`",
            command="conduit run --help",
        )
    host = f"[{url.hostname}]" if ":" in url.hostname else url.hostname
    base = f"{receiver.transport or 'http'}://{host}:{url.port or _PORT}{url.path.rstrip('/')}"
    user = None if url.username is None else unquote(url.username)
    password = unquote(url.password or "")
    return Pushgateway(base, query.get("job", [_JOB])[0], user, password, scene)


class _Stay(HTTPRedirectHandler):
    """Follows no redirect: a password goes where the URL says, and nowhere else."""

    def redirect_request(self, *_: object) -> None:
        return None


@contextmanager
def _asking() -> Iterator[None]:
    """Say in our words what a gateway's answer means.

    Raises:
        ConnectionFailedError: it can't be reached, refuses, or is no gateway.
    """
    try:
        yield
    except HTTPError as error:
        with error:
            why = _REFUSALS.get(error.code) or f"it answers {error.code} {error.reason}"
            if error.code == 400:
                why = f"it refuses the metrics: {error.read(300).decode(errors='replace').strip()}"
    except TimeoutError as error:
        why = f"it doesn't answer in time: {error}"
    except URLError as error:
        why = f"it can't be reached: {error.reason}"
    except OSError as error:
        why = f"it can't be reached: {error}"
    except (ValueError, HTTPException) as error:
        why = f"what it answers isn't a Pushgateway's: {error}"
    else:
        return
    raise ConnectionFailedError(why, command="conduit run --help")


_REFUSALS = {
    401: "user or password are wrong (401)",
    403: "user or password are wrong (403)",
    404: "no Pushgateway is there (404): look at host and prefix",
    405: "no Pushgateway is there (405): look at host and prefix",
}


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")

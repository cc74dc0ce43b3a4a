"""What speaks to desk: an API that answers in JSON, page by page."""

from __future__ import annotations

import json
from collections.abc import Iterator
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

from conduit_core.errors import ConnectionFailedError, SchemaError, SourceDataError
from pydantic import SecretStr


class Client:
    """The API, as far as the source needs it. Safe to use from several threads at once.

    Args:
        url: where it is.
        token: what it knows us by.
        timeout_seconds: for each answer.
    """

    def __init__(self, url: str, token: SecretStr, timeout_seconds: float = 30) -> None:
        self.url = url.rstrip("/")
        self._token = token
        self._timeout = timeout_seconds

    def tables(self) -> list[str]:
        """Name the tables.

        Raises:
            ConnectionFailedError: the API can't be reached, or refuses us.
        """
        return sorted(self._get("tables")["tables"])

    def columns(self, table: str) -> dict[str, str]:
        """Return a table's columns, and the type that the API calls each."""
        found: dict[str, str] = self._get(f"tables/{quote(table, safe='')}")["columns"]
        return found

    def pages(self, table: str, since: str | None = None) -> Iterator[list[dict[str, object]]]:
        """Return a table's rows, page by page; with ``since``, those changed since then.

        The API names the row behind which a page begins: numbers of pages would skip rows where
        others are deleted meanwhile.
        """
        path, after = f"tables/{quote(table, safe='')}/rows", ""
        while True:
            answer = self._get(path, after=after, updated_since=since or "")
            yield answer["rows"]
            if not answer["next"]:
                return
            after = answer["next"]

    def _get(self, path: str, **query: str) -> Any:
        given = {name: value for name, value in query.items() if value}
        request = Request(f"{self.url}/{path}?{urlencode(given)}")  # noqa: S310 - http, by options
        request.add_header("Authorization", f"Bearer {self._token.get_secret_value()}")
        try:
            with urlopen(request, timeout=self._timeout) as answer:  # noqa: S310
                return json.load(answer)
        except HTTPError as error:
            error.close()
            raise self._refused(path, error.code) from None
        except ValueError:
            raise SourceDataError(f"{self.url}/{path}: the answer isn't JSON") from None
        except (OSError, HTTPException) as error:
            raise ConnectionFailedError(f"{self.url} can't be reached: {error}") from None

    def _refused(self, path: str, code: int) -> Exception:
        if code in (401, 403):
            return ConnectionFailedError(f"{self.url} refuses the token ({code})", retry="never")
        if code == 404:
            return SchemaError(f"{self.url} has no {path}", command="conduit discover")
        return ConnectionFailedError(f"{self.url}/{path} answers with {code}")

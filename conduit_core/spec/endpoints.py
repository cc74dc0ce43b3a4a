"""One end of a pipeline: the ``source:`` or ``destination:``, with its secrets wrapped.

What belongs to a connector (``url``, ``path``, ``host``, ...) is kept in ``options`` and checked by
that connector's own model; this module knows only which strings must never be shown.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Annotated

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    SecretStr,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from conduit_core.spec.durations import PATTERN, format_duration, parse_duration
from conduit_core.spec.names import DATABASE_SUFFIXES, file_type
from conduit_core.spec.problems import Loc, refusal

MODEL_CONFIG = ConfigDict(
    frozen=True, extra="forbid", hide_input_in_errors=True, validate_default=False, strict=False
)
Duration = Annotated[
    timedelta,
    BeforeValidator(parse_duration),
    PlainSerializer(format_duration, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "pattern": PATTERN, "examples": ["30s", "10m", "24h", "7d"]}),
]

_SECRET_KEY = re.compile(
    r"pass|pwd|secret|token|cred|private|key|url|uri|dsn|auth|sas|conninfo|account", re.IGNORECASE
)
_TEXT_ONLY_KEY = re.compile(r"pass|pwd|secret|token", re.IGNORECASE)
_URL_WITH_SECRET = re.compile(r"://[^/]*@|://.*\?")
_OPTION_KEY = re.compile(r"[A-Za-z_][\w-]*")
URL_FORMS = (
    "postgres://user@host/db, duckdb:///file.duckdb, sqlite:///file.db, or a path or URL that ends "
    "in .csv, .json, .jsonl, .parquet, .duckdb or .sqlite"
)


def reveal(value: object) -> object:
    """Return ``value`` with every wrapped secret opened; for a driver or a connector's model."""
    if isinstance(value, SecretStr):
        return value.get_secret_value()
    if isinstance(value, Mapping):
        return {key: reveal(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [reveal(item) for item in value]
    return value


def parse_url(text: str) -> dict[str, object]:
    """Return the mapping that a URL string (or a path) stands for: its type and its options.

    ``duckdb:///x.duckdb`` is a relative path, ``duckdb:////data/x.duckdb`` an absolute one. A file
    type is told by the suffix; the folder becomes ``path``, as streams name the files in it.

    Raises:
        ValueError: the text names no known type; the message never holds it.
    """
    scheme, colon, rest = text.partition("://")
    scheme = scheme.lower() if colon else ""
    if scheme in {"postgres", "postgresql"}:
        return {"type": "postgres", "url": text}
    if scheme in {"duckdb", "sqlite"}:
        if not rest.startswith("/") or rest == "/":
            raise ValueError(f"must be {scheme}:///path (three slashes)")
        return {"type": scheme, "path": rest[1:]}
    for suffix, kind in DATABASE_SUFFIXES.items():
        if not scheme and text.lower().endswith(suffix):
            return {"type": kind, "path": text}
    kind_of_file = file_type(text)
    if kind_of_file is None:
        raise ValueError(f"names no known type; write {{type: ..., ...}} or {URL_FORMS}")
    return {"type": kind_of_file, "path": _folder(text)}


def _folder(text: str) -> str:
    bare, question, query = text.partition("?") if "://" in text else (text, "", "")
    scheme, colon, rest = bare.partition("://")
    parts = (rest if colon else bare).split("/")[:-1]
    glob = next((i for i, part in enumerate(parts) if re.search(r"[*?\[{]", part)), len(parts))
    folder = "/".join(parts[:glob])
    if colon:
        return f"{scheme}://{folder or '/'}{question}{query}"
    return folder or ("/" if bare.startswith("/") else ".")


def wrap_secrets(options: Mapping[str, object]) -> tuple[dict[str, object], list[tuple[Loc, str]]]:
    """Return the options with secret strings wrapped, and what is wrong with their keys."""
    problems: list[tuple[Loc, str]] = []

    def wrap(value: object, at: Loc, secret: bool) -> object:  # noqa: FBT001 - local recursion
        if isinstance(value, dict):
            return {k: wrap(v, (*at, k), secret or _is_secret(k)) for k, v in value.items()}
        if isinstance(value, list | tuple):
            return [wrap(item, (*at, index), secret) for index, item in enumerate(value)]
        if isinstance(value, str):
            return SecretStr(value) if secret or _URL_WITH_SECRET.search(value) else value
        number = isinstance(value, bool | int | float)
        if number and at and _TEXT_ONLY_KEY.search(str(at[-1])):
            problems.append((at, f"`{at[-1]}` must be text: put it in quotes"))
            return None
        return value

    def _is_secret(key: object) -> bool:
        return bool(_SECRET_KEY.search(str(key)))

    text = "a key must be a plain name; is a colon and a space missing?"
    problems.extend(((key,), text) for key in options if not _OPTION_KEY.fullmatch(str(key)))
    wrapped = wrap(dict(options), (), False)  # noqa: FBT003
    return (wrapped if isinstance(wrapped, dict) else {}), problems


class ConnectionSpec(BaseModel):
    """A source or a destination: its type, its options, and where Conduit's own tables live.

    Built from a mapping, a URL string, or ``{connection: name}``; until a named connection is
    resolved, ``type`` is empty.
    """

    model_config = MODEL_CONFIG

    type: str = Field(
        default="",
        description="The connector's type.",
        examples=["postgres", "duckdb", "sqlite", "csv", "json", "jsonl", "parquet"],
    )
    connection: str | None = Field(
        default=None,
        min_length=1,
        description="A named connection, which the runner resolves, instead of a type.",
    )
    options: dict[str, object] = Field(
        default_factory=dict, description="What the connector itself takes: url, path, host, ..."
    )
    schema_name: str | None = Field(
        default=None,
        alias="schema",
        min_length=1,
        description="Destination: the schema of its tables. Default: the database's own.",
    )
    internal_schema: str | None = Field(
        default=None,
        min_length=1,
        description="Destination: the schema of the _conduit_ tables and of staging.",
    )
    staging: SecretStr | None = Field(
        default=None, description="Destination: a URL where steps on other machines stage rows."
    )
    lock_wait: Duration = Field(
        default=timedelta(minutes=10),
        description="How long to wait for a lock on the database file or the target. Default: 10m.",
    )

    @model_validator(mode="before")
    @classmethod
    def _read(cls, data: object) -> object:
        text = reveal(data) if isinstance(data, SecretStr) else data
        if isinstance(text, str):
            try:
                data = parse_url(text)
            except ValueError as error:
                raise PydanticCustomError("conduit", "{text}", {"text": str(error)}) from None
        if not isinstance(data, Mapping):
            return data
        own = _own_keys()
        fields = {key: reveal(item) for key, item in data.items() if key in own}
        rest = {key: item for key, item in data.items() if key not in own and key != "options"}
        nested = data.get("options")
        if isinstance(nested, Mapping):
            rest = {**nested, **rest}
        elif nested is not None:
            rest["options"] = nested
        options, problems = wrap_secrets(rest)
        if not fields.get("type") and not fields.get("connection"):
            inferred = _infer(options)
            if not inferred:
                missing = "`type` is missing: postgres, duckdb, sqlite, csv, json, jsonl, parquet"
                problems.append((("type",), missing))
            fields["type"] = inferred
        if problems:
            raise refusal(problems)
        return {**{k: v for k, v in fields.items() if v is not None}, "options": options}

    def reveal(self) -> dict[str, object]:
        """Return the options with secrets opened: the input of a connector's own model."""
        return {key: reveal(item) for key, item in self.options.items()}

    def secrets(self) -> frozenset[str]:
        """Return every secret of it, in each spelling: for a log to mask."""
        from conduit_core.spec.secrets import secrets_of

        return secrets_of((self,))

    def over(self, named: ConnectionSpec) -> ConnectionSpec:
        """Return the named connection with what this one says itself laid over it.

        A named connection without a type, which says where files are, takes this one's.

        Args:
            named: the connection that was looked up.

        Raises:
            ValueError: both name a type, and not the same; or neither does.
        """
        if not (self.type or named.type):
            raise ValueError(
                f"connection `{self.connection}` says where files are, not of which type: write"
                " `type:` beside it: csv, json, jsonl, parquet"
            )
        if self.type and named.type and self.type != named.type:
            raise ValueError(f"`type: {self.type}` isn't the connection's own, {named.type}")
        mine = {name: getattr(self, name) for name in self.model_fields_set}
        mine |= {
            "type": named.type or self.type,
            "connection": self.connection,
            "options": {**named.options, **self.options},
        }
        return named.model_copy(update=mine)

    def replaced_by(self, named: ConnectionSpec, name: str) -> ConnectionSpec:
        """Return the named connection in place of where this one says that it is.

        Schemas, staging and lock_wait stay. A named one without a type says only where files are:
        how they are read stays, too.

        Args:
            named: the connection that was looked up.
            name: its name.
        """
        kept = self.model_fields_set & {"schema_name", "internal_schema", "staging", "lock_wait"}
        stays: dict[str, object] = {key: getattr(self, key) for key in kept}
        if not named.type:
            stays |= {"type": self.type, "options": {**self.options, **named.options}}
        return named.model_copy(update={**stays, "connection": name})


def _own_keys() -> set[str]:
    return {
        key
        for name, info in ConnectionSpec.model_fields.items()
        for key in (name, info.alias)
        if key and key not in {"options", "schema_name"}
    }


def _infer(options: Mapping[str, object]) -> str:
    url = reveal(options.get("url"))
    if isinstance(url, str):
        try:
            return str(parse_url(url)["type"])
        except ValueError:
            return ""
    return ""

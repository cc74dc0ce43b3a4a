"""One error tree, branched by what the caller can do about it.

::

    ConduitError
    ├── ConfigError              exit 2   the pipeline file or an argument is wrong
    ├── ConnectionFailedError    exit 3   a system can't be reached, or refuses us
    ├── SchemaError              exit 4   source and target don't fit
    ├── QualityError             exit 5   rows break a rule; a stream is past its freshness
    ├── StateError               exit 6   watermark, ledger or state store can't be used as they are
    │   └── StateDivergedError            state and destination tell different stories
    ├── PublishError             exit 7   the destination refused the load
    │   ├── ConcurrentLoadError           another load of the same target was published first
    │   ├── StagingLostError              staged rows are gone, or not what was staged
    │   ├── GuardError                    a guard stopped the load before its commit
    │   └── PublishUnknownError           the commit's outcome can't be asked for now
    ├── HookError                exit 8   what follows the loads failed: dbt models, dbt tests
    ├── SourceDataError          exit 1   the source's data can't be read as what it claims to be
    └── LoadFailedError          exit of its first cause; one or more streams of a run failed

``retry`` says what helps: the same step again, a new plan, or nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal, Self

Retry = Literal["step", "plan", "never"]

NOTHING_PUBLISHED = "nothing published"
_RETRY_TEXT: dict[str, str] = {
    "step": "a retry may help",
    "plan": "run it again: a new plan is needed",
    "never": "a retry will not help",
}


def number(count: int, one: str, many: str) -> str:
    """Return a number with what it counts: ``1 row has``, ``2 rows have``."""
    return f"{count} {one if count == 1 else many}"


class ConduitError(Exception):
    """The root of every error that Conduit Core raises on purpose.

    Args:
        message: what went wrong, naming columns, files and values by name; never a secret.
        pipeline, stream, connector: where; filled in by ``at`` on the way up.
        state: what the target looks like now.
        retry: whether the same step, a new plan, or nothing helps.
        command: one command to paste that shows or mends the cause.

    Attributes:
        exit_code: what the command ends with.
        default_retry: ``retry``, where nobody says otherwise.
    """

    exit_code: ClassVar[int] = 1
    default_retry: ClassVar[Retry] = "never"

    def __init__(
        self,
        message: str,
        *,
        pipeline: str | None = None,
        stream: str | None = None,
        connector: str | None = None,
        state: str | None = None,
        retry: Retry | None = None,
        command: str | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.pipeline = pipeline
        self.stream = stream
        self.connector = connector
        self.state = state
        self.retry: Retry = retry or self.default_retry
        self.command = command

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle by attributes, so that errors cross processes whole."""
        return (_rebuild, (type(self), self.message, dict(self.__dict__)))

    def at(
        self,
        *,
        pipeline: str | None = None,
        stream: str | None = None,
        connector: str | None = None,
        state: str | None = None,
        command: str | None = None,
    ) -> Self:
        """Fill in what is not known yet and return the error; what is known stays.

        Args:
            pipeline: where it happened.
            stream: the same.
            connector: the same.
            state: what the target looks like now.
            command: one command to paste.
        """
        self.pipeline = self.pipeline or pipeline
        self.stream = self.stream or stream
        self.connector = self.connector or connector
        self.state = self.state or state
        self.command = self.command or command
        return self

    def lines(self) -> list[str]:
        """Return the four lines that close every failure: what, state, retry, command."""
        where = self.stream or ""
        if self.pipeline:
            where = f"{where} ({self.pipeline})" if where else self.pipeline
        what = f"{where}: {self.message}" if where else self.message
        return [
            what,
            self.state or NOTHING_PUBLISHED,
            _RETRY_TEXT[self.retry],
            self.command or "conduit check",
        ]

    def __str__(self) -> str:
        return "\n".join(self.lines())


def _rebuild(cls: type[ConduitError], message: str, attributes: dict[str, object]) -> ConduitError:
    error = cls.__new__(cls)
    Exception.__init__(error, message)
    error.__dict__.update(attributes)
    return error


def unexpected(error: BaseException) -> ConduitError:
    """Return the error for an exception nobody raised on purpose: a bug, named by its class."""
    bug = ConduitError(f"unexpected {type(error).__name__}: {error}; this is a bug")
    bug.__cause__ = error
    return bug


class ConfigError(ConduitError):
    """The pipeline file or an argument is wrong; the message names file, line and key."""

    exit_code = 2


class ConnectionFailedError(ConduitError):
    """A system can't be reached, or doesn't let us do what the load needs."""

    exit_code = 3
    default_retry = "step"


class SchemaError(ConduitError):
    """Source and target don't fit: each finding names the column, both types and a remedy."""

    exit_code = 4


class QualityError(ConduitError):
    """Rows break a rule whose action is ``fail``, or a stream is past its freshness.

    Args:
        message: what broke which rule.
        reports: what each rule found in a load that rules stopped, those that it passed too: of
            each the fields of ``conduit_core.RuleReport``, as plain data. Of a load that was
            stopped while its rows still came: the rules that were broken by then. Empty where no
            rule found anything: a function or model of the user's broke.
        command: one command to paste.
    """

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        reports: tuple[Mapping[str, object], ...] = (),
        state: str | None = None,
        retry: Retry | None = None,
        command: str | None = None,
    ) -> None:
        super().__init__(message, state=state, retry=retry, command=command)
        self.reports = reports


class StateError(ConduitError):
    """The watermark, the ledger or the state store can't be used as it is."""

    exit_code = 6


class StateDivergedError(StateError):
    """State store and destination tell different stories (a restored or another target)."""


class PublishError(ConduitError):
    """The destination refused the load; its transaction was rolled back."""

    exit_code = 7


class ConcurrentLoadError(PublishError):
    """Another load of the same target was published between our plan and our commit."""

    default_retry = "plan"


class StagingLostError(PublishError):
    """Staged rows or receipts are gone, or not what was staged: again from plan."""

    default_retry = "plan"


class GuardError(PublishError):
    """A guard stopped the load inside its transaction, before the commit."""


class PublishUnknownError(PublishError):
    """The connection died during the commit and the ledger can't be asked now.

    The next run asks it first, so running again is safe.
    """

    default_retry = "plan"


class HookError(ConduitError):
    """What follows the loads (``after:``) failed; the loads are published. The next run does it.

    Args:
        message: what failed, by name.
        details: what became of each part, as plain data.
        retry: whether the same step helps.
        command: one command to paste.
    """

    exit_code = 8

    def __init__(
        self,
        message: str,
        *,
        details: Mapping[str, object] | None = None,
        state: str | None = None,
        retry: Retry | None = None,
        command: str | None = None,
    ) -> None:
        super().__init__(message, state=state, retry=retry, command=command)
        self.details = details or {}


class SourceDataError(ConduitError):
    """The source's data can't be read as what it claims to be (file, line or column named)."""


class LoadFailedError(ConduitError):
    """One or more streams of a run failed; siblings were published on their own.

    Args:
        message: names each failed stream.
        errors: the failures, in the order the file lists their streams.
    """

    def __init__(self, message: str, *, errors: tuple[ConduitError, ...]) -> None:
        super().__init__(message, retry=errors[0].retry if errors else None)
        self.errors = errors

    @property
    def code(self) -> int:
        """The exit code: the first failure's."""
        return self.errors[0].exit_code if self.errors else self.exit_code

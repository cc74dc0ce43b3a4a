"""How a model refuses a value across several keys: one error that carries each key and message."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic_core import PydanticCustomError

KIND = "conduit_problems"
Loc = tuple[str | int, ...]


def refusal(problems: Sequence[tuple[Loc, str]]) -> PydanticCustomError:
    """Return the error that a validator raises: each message with its key, relative to the model.

    Messages name keys and what is allowed, never a value: it may be a secret.
    """
    text = "; ".join(message for _, message in problems)
    return PydanticCustomError(KIND, "{text}", {"text": text, "problems": list(problems)})

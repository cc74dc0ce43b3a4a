"""How a task fails: the four lines last in its log, and a retry only where one can help."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow_provider_conduit.compat import AirflowException, AirflowFailException
from conduit_core.errors import ConduitError, StateDivergedError

if TYPE_CHECKING:
    from logging import Logger

_log = logging.getLogger(__name__)


@contextmanager
def told(log: Logger = _log, *, replan: str = "") -> Iterator[None]:
    """Turn an error of the core into the exception by which Airflow retries, or doesn't.

    Args:
        log: the task's.
        replan: the task that a stale plan comes from, which has to be cleared: this one can't
            mend it by trying again.

    Raises:
        AirflowFailException: no retry can help.
        AirflowException: a retry may help.
    """
    try:
        yield
    except ConduitError as error:
        raise failure(error, replan=replan) from None


def failure(error: ConduitError, *, replan: str = "") -> Exception:
    """Return the exception for an error: its text is the four lines, which Airflow logs last."""
    if isinstance(error, StateDivergedError) and "another target" in error.message:
        error.message += (
            "; a table of this name in another destination needs an `asset=` of its own"
        )
    text = "\n".join(error.lines())
    if replan and error.retry == "plan":
        text = f"{text}\nclear the task {replan} and those after it: a new plan is needed"
        return AirflowFailException(text)
    kind = AirflowFailException if error.retry == "never" else AirflowException
    return kind(text)

"""``@task.conduit``: what a function returns or yields is loaded into a table."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING

from airflow_provider_conduit.asked import Asked, request_of
from airflow_provider_conduit.assets import without
from airflow_provider_conduit.compat import (
    Asset,
    DecoratedOperator,
    TaskDecorator,
    context_merge,
    determine_kwargs,
    task_decorator_factory,
)
from airflow_provider_conduit.failures import told
from airflow_provider_conduit.links import LoadReportLink
from airflow_provider_conduit.loading import LoadsStream
from airflow_provider_conduit.pipelines import Kept

if TYPE_CHECKING:
    from airflow_provider_conduit.compat import Context
    from conduit_core import Pipeline

_WHOLE = "\0"  # no key of a destination: the destination is a text


class ConduitDecoratedOperator(LoadsStream, DecoratedOperator):
    """Call a function and load what it returns or yields, exactly once.

    It may be Arrow, pandas or polars, or a generator of these, which never is in memory whole. A
    retry of a task whose load is published doesn't call the function again.

    Args:
        python_callable: the function.
        into: the table, ``schema.table`` or ``table``.
        destination_conn_id: the Airflow connection of the destination; or ``destination``.
        destination: the destination as a pipeline file says it: a URL or a mapping.
        mode, key, cursor: how rows are published, as in a pipeline file.
        stream: further keys of a stream, as in a file: ``quality``, ``transform``, ``deletes``.
        name: the pipeline's name in the ledger; default: the DAG's id.
        full_refresh: replace the table's content.
        reload: load again what this task instance has loaded already, after a clear.
        asset: the table's Asset, where its name or URI has to be another.
        declared: what the decorator has put among inlets and outlets, for a mapped task.
        op_args, op_kwargs: the function's arguments.
        kwargs: Airflow's own.

    Raises:
        ValueError: there is no destination, or there are two.
    """

    template_fields: Sequence[str] = (
        *DecoratedOperator.template_fields,
        "destination_conn_id",
        "full_refresh",
        "reload",
    )
    custom_operator_name = "@task.conduit"
    operator_extra_links = (LoadReportLink(),)
    ui_color = "#d7ece4"

    def __init__(
        self,
        *,
        python_callable: Callable[..., object],
        into: str,
        destination_conn_id: str | None = None,
        destination: str | Mapping[str, object] | None = None,
        mode: str = "append",
        key: str | Sequence[str] | None = None,
        cursor: str | Sequence[str] | None = None,
        stream: Mapping[str, object] | None = None,
        name: str | None = None,
        full_refresh: bool | str = False,
        reload: bool | str = False,
        asset: Asset | None = None,
        declared: Asset | None = None,
        op_args: Collection[object] | None = None,
        op_kwargs: Mapping[str, object] | None = None,
        **kwargs: object,
    ) -> None:
        super().__init__(
            python_callable=python_callable,
            op_args=op_args,
            op_kwargs=op_kwargs,
            **kwargs,  # type: ignore[arg-type]
        )
        if (destination_conn_id is None) == (destination is None):
            raise ValueError("give one of destination_conn_id and destination")
        self.into = into
        self.destination_conn_id = destination_conn_id
        self.destination = destination
        self.mode = mode
        self.key = key
        self.cursor = cursor
        self.stream_keys = dict(stream or {})
        self.pipeline_name = name
        self.full_refresh = full_refresh
        self.reload = reload
        self.asset = asset or Asset(name=into)
        named = [self.asset, *([declared] if declared else [])]
        self.inlets = [*without(self.inlets, named), self.asset]
        self.outlets = [*without(self.outlets, named), self.asset]

    def execute(self, context: Context) -> Mapping[str, object]:
        """Call the function, and load what it makes.

        Returns:
            What became of the load, small enough for an XCom; not the data.

        Raises:
            AirflowFailException: the load failed, and no retry can help.
            AirflowException: the load failed, and a retry may help.
            Exception: what the function itself raised.
        """
        context_merge(context, self.op_kwargs)
        arguments = determine_kwargs(self.python_callable, self.op_args, context)
        made = _Watched(partial(self.python_callable, *self.op_args, **arguments))
        with told(), made.own_errors():
            asked = Asked(full_refresh=self.full_refresh, reload=self.reload)
            pipeline = self._pipeline(made, context)
            (stream,) = pipeline.streams
            request = request_of(asked, context)
            return self.load(pipeline, stream.name, self.asset, request, context)

    def _pipeline(self, made: Callable[[], object], context: Context) -> Pipeline:
        from airflow_provider_conduit.connections import AirflowConnections, mask
        from conduit_core import Pipeline

        named = {"connection": self.destination_conn_id}
        given = self.destination
        if isinstance(given, Kept):
            text = given.get(_WHOLE)
            given = text if isinstance(text, str) else dict(given)
        pipeline = Pipeline.from_data(
            made,
            name=self.pipeline_name or context["ti"].dag_id,
            into=self.into,
            destination=named if given is None else given,
            mode=self.mode,  # type: ignore[arg-type]
            key=self.key,
            cursor=self.cursor,
            stream=self.stream_keys,
            connections=AirflowConnections(),
        )
        mask(pipeline.secrets())
        return pipeline


class _Watched:
    """The author's function; what it raises is Airflow's to judge: a retry, a skip, a failure."""

    def __init__(self, made: Callable[[], object]) -> None:
        self._made = made
        self._raised: Exception | None = None

    def __call__(self) -> object:
        with self._kept():
            found = self._made()
        return self._each(found) if isinstance(found, Iterator) else found

    def _each(self, found: Iterator[object]) -> Iterator[object]:
        with self._kept():
            yield from found

    @contextmanager
    def _kept(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            self._raised = error
            raise

    @contextmanager
    def own_errors(self) -> Iterator[None]:
        """Raise what the function raised, in place of the load's failure by it."""
        try:
            yield
        except Exception:
            if self._raised is not None:
                raise self._raised from None
            raise


def conduit_task(
    python_callable: Callable[..., object] | None = None, **kwargs: object
) -> TaskDecorator:
    """Make a task of a function, whose data is loaded; see :class:`ConduitDecoratedOperator`."""
    given = kwargs.get("destination")
    if isinstance(given, str | Mapping):  # Airflow keeps a mapped task's arguments with the DAG
        kwargs["destination"] = Kept({_WHOLE: given} if isinstance(given, str) else given)
    if into := kwargs.get("into"):
        declared = kwargs["declared"] = kwargs.get("asset") or Asset(name=str(into))
        for name in ("inlets", "outlets"):
            found = kwargs.get(name) or ()
            kwargs[name] = [*(found if isinstance(found, list | tuple) else [found]), declared]
    return task_decorator_factory(
        python_callable=python_callable,
        decorated_operator_class=ConduitDecoratedOperator,
        **kwargs,  # type: ignore[arg-type]
    )

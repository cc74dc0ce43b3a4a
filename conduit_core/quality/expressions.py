"""SQL conditions over one row (``where``, ``expression``), compiled to Arrow kernels.

sqlglot reads the SQL; this module knows what each node means in Arrow. A small, closed language:
the same condition says the same in every runner and for every destination, needs no database, can't
read a file or run a statement, and sees one row at a time. What isn't in it is refused by name.

AND, OR, NOT, = <> < <= > >=, IS [NOT] NULL | TRUE | FALSE, IS [NOT] DISTINCT FROM, IN (list),
BETWEEN, [NOT] LIKE, [NOT] ILIKE, CASE, CAST, + - * / %, ||, and the functions of ``functions``.
Numbers are exact, but for a division, which is done in float64.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import pyarrow as pa

from conduit_core.errors import ConfigError, QualityError, SchemaError
from conduit_core.quality.arrays import constant, is_number, is_text, kernels, pick, plain_type
from conduit_core.quality.checks import compile_pattern
from conduit_core.quality.finding import did_you_mean
from conduit_core.quality.literals import UnfitError, number

if TYPE_CHECKING:
    from sqlglot import exp

Datum: TypeAlias = "pa.Array[pa.Scalar[pa.DataType]] | pa.Scalar[pa.DataType]"
Run: TypeAlias = "Callable[[pa.RecordBatch], Datum]"
_HARMLESS = frozenset({"typed", "safe", "nested", "is_string", "quoted", "_type", "ignore_nulls"})


@dataclass(frozen=True)
class Node:
    """A compiled part of a condition: how it is computed, its type, and the value of a literal."""

    run: Run
    kind: pa.DataType
    literal: str | None = None
    """The text of a string literal: it takes the type of what it stands beside."""


class Condition:
    """A compiled condition over the rows of a batch.

    Args:
        sql: the condition.
        schema: the batches' columns.
        what: who asks, for errors: ``where`` of a rule, or an expression.

    Raises:
        ConfigError: the SQL can't be read, isn't of the language, isn't a condition, or compares
            what can't be compared.
        SchemaError: it names a column that isn't there.
    """

    def __init__(self, sql: str, schema: pa.Schema, what: str) -> None:
        self.sql = sql
        self._what = what
        compiler = _Compiler(schema)
        try:
            node = compiler.node(parse(sql))
        except UnfitError as error:
            raise ConfigError(f"{what} {sql!r}: {error}", command="conduit check") from error
        except RecursionError as error:
            raise ConfigError(
                f"{what} is too deep: write it in parts, as rules of their own, and a long list of"
                " OR as IN",
                command="conduit check",
            ) from error
        if not (pa.types.is_boolean(node.kind) or pa.types.is_null(node.kind)):
            raise ConfigError(
                f"{what} {sql!r} is no condition: its value is of type {node.kind}",
                command="conduit check",
            )
        self._run = node.run

    def flags(self, batch: pa.RecordBatch) -> pa.BooleanArray:
        """Return the condition's value for each row; it may be NULL.

        Raises:
            QualityError: a value of the batch breaks it: an overflow, a cast.
        """
        try:
            value = self._run(batch)
        except (pa.ArrowException, ValueError) as error:
            raise QualityError(
                f"{self._what} {self.sql!r} can't be computed: {error}", command="conduit check"
            ) from error
        if isinstance(value, pa.Scalar):
            return constant(batch.num_rows, value=value.as_py())
        return cast("pa.BooleanArray", kernels.cast(value, pa.bool_()))


def parse(sql: str) -> exp.Expression:
    """Return a condition's tree.

    Raises:
        UnfitError: it isn't one SQL expression.
    """
    with warnings.catch_warnings():  # it warns of sqlglotrs, which dagster-dbt may have brought
        warnings.simplefilter("ignore", DeprecationWarning)
        import sqlglot
        from sqlglot.errors import SqlglotError

    try:
        found = sqlglot.parse(sql)
    except (SqlglotError, RecursionError) as error:
        text = str(error).splitlines()[0] if str(error) else "it is too deep"
        raise UnfitError(f"can't be read as SQL: {text}") from error
    if len(found) != 1 or found[0] is None:
        raise UnfitError("must be one condition")
    return cast("exp.Expression", found[0])


class _Compiler:
    def __init__(self, schema: pa.Schema) -> None:
        self._schema = schema
        self._empty = schema.empty_table().combine_chunks().to_batches()
        self._probe = (
            self._empty[0]
            if self._empty
            else pa.RecordBatch.from_arrays(
                [pa.array([], field.type) for field in schema], schema=schema
            )
        )

    def node(self, tree: exp.Expression) -> Node:
        """Return a tree, compiled."""
        from conduit_core.quality.functions import FUNCTIONS

        name = type(tree).__name__
        method = _METHODS.get(name)
        if method is not None:
            return method(self, tree)
        if name in _KERNELS:
            return self._pair(tree, _KERNELS[name])
        if name in FUNCTIONS:
            names, make = FUNCTIONS[name]
            arguments = [self._argument(tree.args.get(key)) for key in names]
            self._only(tree, *names)
            return self._made(lambda b: make([None if a is None else a.run(b) for a in arguments]))
        raise UnfitError(f"{_shown(tree)} isn't part of the language of conditions")

    def _argument(self, tree: object) -> Node | None:
        return None if tree is None else self.node(tree)  # type: ignore[arg-type]

    def _made(self, run: Run) -> Node:
        """Return a node whose type is found by running it on no rows."""
        try:
            return Node(run, run(self._probe).type)
        except (pa.ArrowException, TypeError, ValueError) as error:
            raise UnfitError(str(error)) from error

    @staticmethod
    def _only(tree: exp.Expression, *used: str) -> None:
        for key, value in tree.args.items():
            if key not in used and key not in _HARMLESS and value:
                raise UnfitError(f"{_shown(tree)} isn't part of the language of conditions")

    def on_column(self, tree: exp.Expression) -> Node:
        self._only(tree, "this")
        name = tree.name
        names = self._schema.names
        if name not in names and not tree.this.args.get("quoted"):
            folded = [each for each in names if each.lower() == name.lower()]
            name = folded[0] if len(folded) == 1 else name
        if names.count(name) != 1:
            raise SchemaError(
                f"a condition looks at column {tree.name!r}, which the rows don't"
                f" have{did_you_mean(tree.name, names) or ';'} they have {', '.join(names)}",
                command="conduit check",
            )
        kind = plain_type(self._schema.field(name).type)
        return Node(lambda batch: pick(batch, name), kind)

    def on_literal(self, tree: exp.Expression) -> Node:
        text = str(tree.this)
        if tree.args.get("is_string"):
            value: pa.Scalar[pa.DataType] = pa.scalar(text)
            return Node(lambda _: value, pa.string(), literal=text)
        exact = number(text)
        fixed: pa.Scalar[Any] = pa.scalar(exact)
        if "e" in text.lower():
            fixed = pa.scalar(float(exact))
        elif "." not in text and exact < 2**63:
            fixed = pa.scalar(int(exact))
        return Node(lambda _: fixed, fixed.type)

    def on_boolean(self, tree: exp.Expression) -> Node:
        value = pa.scalar(bool(tree.this), pa.bool_())
        return Node(lambda _: value, pa.bool_())

    def on_null(self, _: exp.Expression) -> Node:
        value = pa.scalar(None, pa.bool_())
        return Node(lambda _: value, pa.null())

    def on_paren(self, tree: exp.Expression) -> Node:
        return self.node(tree.this)

    def on_not(self, tree: exp.Expression) -> Node:
        inner = self.node(tree.this)
        return self._made(lambda b: kernels.invert(inner.run(b)))

    def on_negative(self, tree: exp.Expression) -> Node:
        inner = self.node(tree.this)
        return self._made(lambda b: kernels.negate_checked(inner.run(b)))

    def on_is(self, tree: exp.Expression) -> Node:
        inner = self.node(tree.this)
        other = type(tree.expression).__name__
        if other == "Null":
            return self._made(lambda b: kernels.is_null(inner.run(b)))
        if other != "Boolean":
            raise UnfitError(f"{_shown(tree)} isn't part of the language of conditions")
        want = bool(tree.expression.this)
        if not pa.types.is_boolean(inner.kind):
            raise UnfitError(f"{_shown(tree)}: its value is of type {inner.kind}")
        return self._made(
            lambda b: kernels.equal(
                kernels.coalesce(inner.run(b), pa.scalar(not want)), pa.scalar(want)
            )
        )

    def on_in(self, tree: exp.Expression) -> Node:
        self._only(tree, "this", "expressions")
        inner = self.node(tree.this)
        tests = []
        for item in tree.expressions:
            left, right = self._fit(inner, self.node(item))
            tests.append(self._made(_call(kernels.equal, left, right)))
        if not tests:
            raise UnfitError(f"{_shown(tree)}: the list is empty")
        return self._folded(tests, kernels.or_kleene)

    def on_between(self, tree: exp.Expression) -> Node:
        self._only(tree, "this", "low", "high")
        inner = self.node(tree.this)
        left, low = self._fit(inner, self.node(tree.args["low"]))
        right, high = self._fit(inner, self.node(tree.args["high"]))
        tests = [_call(kernels.greater_equal, left, low), _call(kernels.less_equal, right, high)]
        return self._folded([self._made(test) for test in tests], kernels.and_kleene)

    def _folded(self, tests: Sequence[Node], kernel: Callable[..., Any]) -> Node:
        def run(batch: pa.RecordBatch) -> Datum:
            value = tests[0].run(batch)
            for test in tests[1:]:
                value = kernel(value, test.run(batch))
            return value

        return self._made(run)

    def on_like(self, tree: exp.Expression) -> Node:
        self._only(tree, "this", "expression", "negate")
        inner = self.node(tree.this)
        pattern = self._text(tree.expression, tree)
        fold = type(tree).__name__ == "ILike"

        found = self._made(
            lambda b: kernels.match_like(inner.run(b), pattern=pattern, ignore_case=fold)
        )
        return (
            self._made(lambda b: kernels.invert(found.run(b))) if tree.args.get("negate") else found
        )

    def on_regex(self, tree: exp.Expression) -> Node:
        self._only(tree, "this", "expression")
        inner = self.node(tree.this)
        pattern = self._text(tree.expression, tree)
        compile_pattern(pattern)
        return self._made(lambda b: kernels.match_substring_regex(inner.run(b), pattern=pattern))

    def on_starts(self, tree: exp.Expression) -> Node:
        self._only(tree, "this", "expression")
        inner = self.node(tree.this)
        start = self._text(tree.expression, tree)
        return self._made(lambda b: kernels.starts_with(inner.run(b), pattern=start))

    def _text(self, tree: exp.Expression, whole: exp.Expression) -> str:
        literal = self.node(tree).literal
        if literal is None:
            raise UnfitError(f"{_shown(whole)}: the pattern must be text in quotes")
        return literal

    def on_distinct(self, tree: exp.Expression) -> Node:
        left, right = self._fit(self.node(tree.this), self.node(tree.expression))
        negate = type(tree).__name__ == "NullSafeNEQ"

        def run(batch: pa.RecordBatch) -> Datum:
            a, b = left.run(batch), right.run(batch)
            neither = kernels.and_(kernels.is_null(a), kernels.is_null(b))
            same = kernels.or_(
                neither, kernels.coalesce(kernels.equal(a, b), pa.scalar(value=False))
            )
            return cast("Datum", kernels.invert(same) if negate else same)

        return self._made(run)

    def on_coalesce(self, tree: exp.Expression) -> Node:
        self._only(tree, "this", "expressions")
        first, *rest = [self.node(item) for item in (tree.this, *tree.expressions)]
        parts = [first, *(self._typed(node, first.kind) for node in rest)]
        return self._made(lambda b: kernels.coalesce(*(part.run(b) for part in parts)))

    def on_case(self, tree: exp.Expression) -> Node:
        self._only(tree, "ifs", "default")
        branches = [(self.node(i.this), self.node(i.args["true"])) for i in tree.args["ifs"]]
        default = tree.args.get("default")
        last = self.node(default) if default is not None else None

        def run(batch: pa.RecordBatch) -> Datum:
            value = last.run(batch) if last else pa.scalar(None, branches[0][1].kind)
            for test, then in reversed(branches):
                flags = kernels.coalesce(test.run(batch), pa.scalar(value=False))
                value = kernels.if_else(flags, then.run(batch), value)
            return value

        return self._made(run)

    def on_cast(self, tree: exp.Expression) -> Node:
        from conduit_core.quality.typenames import arrow_type

        self._only(tree, "this", "to")
        kind = arrow_type(tree.args["to"].sql())
        inner = self.node(tree.this)
        if inner.literal is not None:
            return self._typed(inner, kind)
        return self._made(lambda b: kernels.cast(inner.run(b), kind))

    def _pair(self, tree: exp.Expression, kernel: Callable[..., Any]) -> Node:
        self._only(tree, "this", "expression")
        left, right = self._fit(self.node(tree.this), self.node(tree.expression))
        if type(tree).__name__ == "Div":
            left, right = self._as(left, pa.float64()), self._as(right, pa.float64())
        try:
            return self._made(_call(kernel, left, right))
        except UnfitError:
            decimals = pa.types.is_decimal(left.kind) or pa.types.is_decimal(right.kind)
            if not (decimals and is_number(left.kind) and is_number(right.kind)):
                raise
        # Arrow gives a product room for the widest factors; 76 digits have it where 38 don't.
        return self._made(_call(kernel, self._wide(left), self._wide(right)))

    def _wide(self, node: Node) -> Node:
        if not pa.types.is_decimal(node.kind):
            return node
        return self._as(node, pa.decimal256(node.kind.precision, node.kind.scale))

    def _as(self, node: Node, kind: pa.DataType) -> Node:
        return node if node.kind == kind else self._made(lambda b: kernels.cast(node.run(b), kind))

    def _fit(self, left: Node, right: Node) -> tuple[Node, Node]:
        """Give a string literal the type of what stands beside it."""
        if right.literal is not None and left.literal is None:
            return left, self._typed(right, left.kind)
        if left.literal is not None and right.literal is None:
            return self._typed(left, right.kind), right
        return left, right

    @staticmethod
    def _typed(node: Node, kind: pa.DataType) -> Node:
        if is_text(kind) or node.literal is None:
            return node
        from conduit_core.quality.literals import equal

        value = equal(node.literal, kind)
        if value is None:
            raise UnfitError(f"{node.literal!r} is no value of type {kind}")
        return Node(lambda _: value, kind)


def _call(kernel: Callable[..., Any], left: Node, right: Node) -> Run:
    return lambda batch: kernel(left.run(batch), right.run(batch))


def _shown(tree: exp.Expression) -> str:
    return f"`{tree.sql()}`"


_KERNELS: dict[str, Callable[..., Any]] = {
    "And": kernels.and_kleene,
    "Or": kernels.or_kleene,
    "EQ": kernels.equal,
    "NEQ": kernels.not_equal,
    "GT": kernels.greater,
    "GTE": kernels.greater_equal,
    "LT": kernels.less,
    "LTE": kernels.less_equal,
    "Add": kernels.add_checked,
    "Sub": kernels.subtract_checked,
    "Mul": kernels.multiply_checked,
    "Div": kernels.divide,
    "DPipe": lambda left, right: kernels.binary_join_element_wise(left, right, ""),
}
_METHODS: dict[str, Callable[[_Compiler, Any], Node]] = {
    "Column": _Compiler.on_column,
    "Literal": _Compiler.on_literal,
    "Boolean": _Compiler.on_boolean,
    "Null": _Compiler.on_null,
    "Paren": _Compiler.on_paren,
    "Not": _Compiler.on_not,
    "Neg": _Compiler.on_negative,
    "Is": _Compiler.on_is,
    "In": _Compiler.on_in,
    "Between": _Compiler.on_between,
    "Like": _Compiler.on_like,
    "ILike": _Compiler.on_like,
    "RegexpLike": _Compiler.on_regex,
    "StartsWith": _Compiler.on_starts,
    "NullSafeEQ": _Compiler.on_distinct,
    "NullSafeNEQ": _Compiler.on_distinct,
    "Coalesce": _Compiler.on_coalesce,
    "Case": _Compiler.on_case,
    "Cast": _Compiler.on_cast,
}

"""One test per wrong pipeline file: what it is told, and on which line."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, SecretStr, ValidationError

from conduit_core.errors import ConfigError
from conduit_core.spec import load_spec, spec_from_mapping
from conduit_core.spec.document import parse_toml, parse_yaml
from tests.unit.spec.conftest import HEAD, Load, Refused


@pytest.mark.parametrize(
    ("streams", "told"),
    [
        ("[{tabel: a}]", "pipeline.yml:4: streams[0]: unknown key `tabel`; did you mean `table`?"),
        ("[{table: a, zzz: 1}]", "unknown key `zzz`; known keys: columns, cursor,"),
        ("[]", "pipeline.yml:4: `streams` must not be empty"),
        ("{orders: {}}", "pipeline.yml:4: `streams` must be a list"),
        ("[5]", "`streams[0]` must be a mapping; it is 5"),
        ("['']", "`table` must not be empty"),
        ("[{table: a, query: SELECT 1}]", "exactly one of table, query, path, not table and query"),
        ("[{mode: replace}]", "needs exactly one of table, query, path"),
        ("[{query: SELECT 1}]", "needs a `name`: its query gives none"),
        ("[a.b.c]", "`table` has more than two parts"),
        ("[{table: a, into: x.y.z}]", "`into` has more than two parts"),
        ("[{table: a, cursor: id}]", "a `cursor` needs a `mode`: append, upsert, replace ..."),
        ("[{table: a, mode: appendd}]", "replace_window or scd2; it is 'appendd'"),
        ("[{table: a, mode: upsert}]", "`mode: upsert` needs a `unique_key`: the columns that"),
        ("[{table: a, mode: insert_only}]", "`mode: insert_only` needs a `unique_key`"),
        ("[{table: a, mode: replace_window}]", "needs a `cursor`, which says what a slice is, or"),
        ("[{table: a, initial: 5}]", "`initial` needs a `cursor`"),
        ("[{table: a, mode: append, cursor: id, initial: true}]", "`initial` must be text"),
        ("[{table: a, cursor_timezone: UTC}]", "`cursor_timezone` needs a `cursor`"),
        (
            "[{table: a, mode: append, cursor: t, cursor_timezone: Mars/Base}]",
            "`cursor_timezone` is not a time zone",
        ),
        (
            "[{table: a, mode: append, cursor: t, null_cursor: include}]",
            "`null_cursor: include` would add the same rows",
        ),
        ("[{table: a, mode: append, cursor: [t, t]}]", "`cursor` names the same column twice"),
        ("[{table: a, mode: append, cursor: ['']}]", "must not be empty"),
        ("[{table: a, mode: append, cursor: {a: b}}]", "`cursor` must be a list"),
        ("[{table: a, columns: [x, x]}]", "`columns` names the same column twice"),
        ("[{table: a, columns: []}]", "`columns` must not be empty"),
        (
            "[{table: a, mode: append, cursor: t, columns: [a]}]",
            "`columns` leaves out t, a key or cursor",
        ),
        ("[{table: a, metadata: [rows]}]", "must be load or file; it is 'rows'"),
        ("[{table: a, freshness: 7}]", "`freshness` needs a unit"),
        ("[{table: a, freshness: soon}]", "`freshness` must be a duration such as 30s"),
        ("[a, b, a]", "streams[2]: two streams have the same name"),
        ("[a, {table: b, into: a}]", "streams[1]: two streams feed the same target"),
        ("[a, {table: b, into: raw.a}]", "streams[1]: two streams feed the same target"),
        ("[{path: '*.csv'}]", "needs a `name`: its path gives none"),
    ],
)
def test_a_wrong_stream_is_told(refused: Refused, streams: str, told: str) -> None:
    message = refused(f"{HEAD}streams: {streams}\n")
    assert told in message
    assert "pipeline.yml:4" in message


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: ''\n", "pipeline.yml:1: `name` must not be empty"),
        ("name: ' x'\n", "pipeline.yml:1: `name` must not begin or end with a space"),
        ("name: x\n", "`source` is missing"),
        ("name: x\nsorce: y\n", "pipeline.yml:2: unknown key `sorce`; did you mean `source`?"),
        ("name: x\non_error: ignore\n", "pipeline.yml:2: `on_error` must be continue or stop"),
        ("name: x\nsource: {path: x}\n", "pipeline.yml:2: source: `type` is missing"),
        ("name: x\nsource: nonsense\n", "pipeline.yml:2: `source` names no known type"),
        ("name: x\nsource: 'mysql://h/db'\n", "`source` names no known type"),
        ("name: x\nsource: 'duckdb://x'\n", "`source` must be duckdb:///path (three slashes)"),
        ("name: x\nsource: [a]\n", "`source` must be a mapping"),
        (
            "name: x\nsource: {type: csv, schema: y}\ndestination: w.duckdb\nstreams: [a]\n",
            "belongs to the dest",
        ),
        (
            "name: x\nsource: {type: csv, password: 123}\n",
            "`password` must be text: put it in quotes",
        ),
        ("name: x\ndefaults: {table: a}\n", "pipeline.yml:2: defaults: unknown key `table`"),
        ("name: x\ndefaults: [a]\n", "`defaults` must be a mapping"),
        ("name: x\nretention: forever\n", "`retention` must be a duration"),
    ],
)
def test_a_wrong_pipeline_is_told(refused: Refused, text: str, told: str) -> None:
    assert told in refused(text)


def test_files_have_no_tables(refused: Refused) -> None:
    text = "name: x\nsource: {type: csv, path: d}\ndestination: w.duckdb\nstreams:\n  - table: a\n"
    assert "pipeline.yml:5: streams[0]: a csv source has files: write `path`" in refused(text)


def test_every_problem_is_told_at_once_in_the_files_order(refused: Refused) -> None:
    message = refused(
        "name: x\nsource: {type: postgres, url: '${MISSING}'}\nnotifi: {}\ndestination: 5\n"
        "defaults: {null_cursor: x}\nstreams:\n  - {tabel: a}\n  - b\n  - {table: c, deletes: 2}\n"
    )
    assert message.splitlines()[0] == "pipeline.yml: 6 problems"
    lines = [line.split(": ")[0].strip() for line in message.splitlines()[1:]]
    assert lines == [f"pipeline.yml:{n}" for n in (2, 3, 4, 5, 7, 9)]


def test_a_problem_of_the_defaults_is_told_once(refused: Refused) -> None:
    told = "defaults: `null_cursor` must be fail or include; it is 'x'"
    assert (
        refused(HEAD + "defaults: {null_cursor: x}\nstreams: [a, b]\n") == f"pipeline.yml:4: {told}"
    )
    told = "`freshness` needs a unit: ms, s, m, h, d or w; it is 7"
    assert refused(HEAD + "freshness: 7\nstreams: [a, b]\n") == f"pipeline.yml:4: {told}"
    told = "streams[0]: `table` must be text; it is 5"
    assert refused(HEAD + "streams: [{table: 5}]\n") == f"pipeline.yml:4: {told}"


def test_a_missing_variable_names_itself_line_and_key(refused: Refused) -> None:
    text = HEAD.replace("postgres://h/db", "${SHOP_URL}") + "streams: [a]\n"
    message = refused(text, {"OTHER": "x"})
    assert message.startswith("pipeline.yml:2: source: environment variable SHOP_URL is not set")


def test_a_broken_reference_is_told(refused: Refused) -> None:
    assert "pipeline.yml:4: `${` opens no variable" in refused(HEAD + "on_error: '${x y}'\n")


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load_spec(tmp_path / "nothing.yml")
    assert caught.value.lines()[3] == f"conduit init {tmp_path}/nothing.yml"


def test_a_missing_default_file() -> None:
    with pytest.raises(ConfigError, match="there is no such file") as caught:
        load_spec("pipeline.yml")
    assert caught.value.lines()[3] == "conduit init"


@pytest.mark.parametrize("text", ["", "name: [", "name: x\nname: y\n"])
def test_what_is_there_but_wrong_is_not_sent_to_init(tmp_path: Path, text: str) -> None:
    (tmp_path / "pipeline.yml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_spec(tmp_path / "pipeline.yml")
    assert caught.value.lines()[3].startswith("conduit check")


def test_a_folder(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="is a folder"):
        load_spec(tmp_path)


def test_a_file_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / "p.yml").write_bytes(b"PAR1\xff\xfe\x00")
    with pytest.raises(ConfigError, match="is not UTF-8 text"):
        load_spec(tmp_path / "p.yml")


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}", "---\n"])
def test_an_empty_file(refused: Refused, text: str) -> None:
    assert refused(text) == "pipeline.yml: is empty"


def test_a_list_or_a_word(refused: Refused) -> None:
    assert "is a list; a pipeline is a mapping" in refused("- a\n")
    assert "is one value; a pipeline is a mapping" in refused("hello\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name: x\nname: y\n", "pipeline.yml:2: duplicate key `name`"),
        ("name: x\nsource: [a\n", "pipeline.yml:2: not valid YAML: a [ isn't closed"),
        ("a: {b: c\nd: {e: f}\n", "pipeline.yml:1: not valid YAML: a { isn't closed"),
        ("a: {b: ${C}}\n", """a value in it needs quotes, as in "${NAME}\""""),
        ("name:\n\tsource: a\n", "pipeline.yml:2: not valid YAML: indented with a tab; use spa"),
        ("name: `x`\n", "pipeline.yml:1: not valid YAML: found character '`' that"),
        ("name: x\n\tsource: a\n", "pipeline.yml:2: not valid YAML"),
        ("name: x\n---\nname: y\n", "pipeline.yml:2: not valid YAML"),
        ("name: x\nsource: \x01\n", "pipeline.yml:2: not valid YAML: a control character"),
        ("name: !!python/name:os.system x\n", "pipeline.yml:1: a tag (`!name`)"),
        ("name: x\n? [a]\n: b\n", "pipeline.yml:2: a key must be text"),
        ("name: &a [*a]\n", "aliases (`*name`) that repeat themselves"),
        ("name: !!int x\n", "pipeline.yml:1: not int as its tag says"),
        ("a: " + "[" * 5000 + "]" * 5000, "nested too deep"),
    ],
)
def test_what_is_no_yaml(refused: Refused, text: str, told: str) -> None:
    assert told in refused(text)


def test_a_small_file_can_not_become_huge(refused: Refused) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    assert "aliases (`*name`) that repeat themselves" in refused("\n".join(lines))


@pytest.mark.parametrize(
    ("text", "line"),
    [('name = "x"\nname = "y"\n', 2), ('name = "x"\nsource = \n', 2), ('name = "x\n', 1)],
)
def test_what_is_no_toml(refused: Refused, text: str, line: int) -> None:
    assert f"p.toml:{line}: not valid TOML" in refused(text, name="p.toml")


@given(st.text(alphabet=st.sampled_from("ab:-[]{}&*!|>'\"%@`#,? \n\t$1."), max_size=60))
def test_any_text_is_a_document_or_a_config_error(text: str) -> None:
    for parse in (parse_yaml, parse_toml):
        with suppress(ConfigError):
            parse(text, "p")


class _Options(BaseModel):
    model_config = ConfigDict(extra="forbid")
    host: str
    port: int = 5432
    password: SecretStr | None = None


def test_a_connectors_own_options_are_told_alike(load: Load) -> None:
    loaded = load(
        "name: x\nsource:\n  type: postgres\n  hots: h\n  port: many\n"
        "destination: {type: postgres, host: h, shema: raw}\nstreams: [a]\n"
    )
    with pytest.raises(ValidationError) as caught:
        _Options.model_validate(loaded.spec.source.reveal())
    message = loaded.explain(caught.value, ("source",), model=_Options).message
    assert "pipeline.yml:4: source: unknown key `hots`; did you mean `host`?" in message
    assert "pipeline.yml:5: source: `port` must be a whole number" in message
    assert "pipeline.yml:2: source: `host` is missing" in message
    assert "many" not in message
    with pytest.raises(ValidationError) as caught:
        _Options.model_validate(loaded.spec.destination.reveal())
    message = loaded.explain(caught.value, ("destination",), model=_Options).message
    assert message == "pipeline.yml:6: destination: unknown key `shema`; did you mean `schema`?"


def test_python_input_is_told_by_key(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        spec_from_mapping(
            {
                "name": "x",
                "source": "w.duckdb",
                "destination": "v.duckdb",
                "streams": [{"tabel": 1}],
            },
            tmp_path,
            env={},
        )
    assert "<python>: streams[0]: unknown key `tabel`; did you mean `table`?" in str(caught.value)


@pytest.mark.parametrize(
    ("splits", "told"),
    [
        (
            "0",
            "`splits` must be a whole number from 1 to 1000, or a mapping with count, by, column,",
        ),
        ("1001", "`splits` must be a whole number from 1 to 1000"),
        ("true", "`splits` must be a whole number from 1 to 1000"),
        ("many", "`splits` must be a whole number from 1 to 1000"),
        ("[1, 2]", "`splits` must be a whole number from 1 to 1000"),
        ("{}", "`splits` needs a `count`"),
        ("{by: hash}", "`splits` needs a `count`"),
        ("{count: 0}", "`count` must be a whole number from 1 to 1000; it is 0"),
        ("{count: 2.5}", "`count` must be a whole number from 1 to 1000; it is 2.5"),
        ("{count: 2, by: size}", "`by` must be range or hash or file; it is 'size'"),
        ("{count: 2, colum: id}", "unknown key `colum`; did you mean `column`?"),
        ("{count: 2, by: file, column: id}", "`by: file` compares no column"),
        ("{values: [a]}", "`values` needs a `column`"),
        ("{column: a, values: []}", "`values` must not be empty"),
        ("{column: a, values: [x, x]}", "`values` names the same value twice"),
        ("{column: a, values: [null]}", "`values` must be a list of texts, numbers or dates"),
        ("{column: a, values: [x], count: 2}", "leave out `count`"),
    ],
)
@pytest.mark.parametrize("where", ["stream", "defaults"])
def test_wrong_splits_are_told(refused: Refused, splits: str, told: str, where: str) -> None:
    body = {
        "stream": f"streams:\n  - table: a\n    splits: {splits}\n",
        "defaults": f"streams: [a]\ndefaults:\n  splits: {splits}\n",
    }[where]
    message = refused(HEAD + body)
    assert message.startswith("pipeline.yml:6: ")
    assert told in message


def test_columns_hold_the_split_column(refused: Refused) -> None:
    text = "streams:\n  - {table: a, columns: [x], splits: {count: 2, column: id}}\n"
    assert "`columns` leaves out id, which `splits` compares" in refused(HEAD + text)

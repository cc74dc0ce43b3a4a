"""CSV: types of the whole file, NULL and empty, broken files named by line."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pytest

from conduit_core.connectors.base import StreamRef
from conduit_core.errors import ConfigError, SchemaError, SourceDataError
from conduit_core.types.schema import logical_type
from tests.connectors.files.helpers import load, rows, source

MOMENT = datetime(2013, 1, 1, 5, 0, 0, 250000)  # noqa: DTZ001 - a naive column's value


def column(tmp_path: Path, *values: str) -> tuple[pa.DataType, list[object]]:
    """Return the type and the values that a column of these texts is read as."""
    lines = "".join(f"{i},{v}\n" for i, v in enumerate(values))
    (tmp_path / "t.csv").write_text("n,v\n" + lines, encoding="utf-8")
    table, _ = load(source("csv", tmp_path), "t.csv")
    return table.schema.field("v").type, table["v"].to_pylist()


@pytest.mark.parametrize(
    ("values", "kind", "read"),
    [
        (["1", "", "NA", "-3"], pa.int64(), [1, None, None, -3]),
        (["1", "2.5"], pa.float64(), [1.0, 2.5]),
        (["0.30000000000000004"], pa.float64(), [0.30000000000000004]),
        (["0", "-0"], pa.int64(), [0, 0]),
        (["00501", "10001"], pa.string(), ["00501", "10001"]),
        (["+4799", "1"], pa.string(), ["+4799", "1"]),
        (["0x1F"], pa.string(), ["0x1F"]),
        (["9223372036854775808"], pa.decimal128(38, 0), [Decimal(9223372036854775808)]),
        (["1" * 39], pa.string(), ["1" * 39]),
        (["3.14159265358979323846"], pa.string(), ["3.14159265358979323846"]),
        (["true", "FALSE", ""], pa.bool_(), [True, False, None]),
        (["yes", "no"], pa.string(), ["yes", "no"]),
        (["nan", "inf"], pa.string(), ["nan", "inf"]),
        (["2013-01-31", "1905-02-03"], pa.date32(), [date(2013, 1, 31), date(1905, 2, 3)]),
        (["2013-02-31"], pa.string(), ["2013-02-31"]),
        (
            ["2013-01-01T05:00:00Z", "2013-01-01 06:00:00+01:00"],
            pa.timestamp("us", tz="UTC"),
            [datetime(2013, 1, 1, 5, tzinfo=UTC)] * 2,
        ),
        (
            ["2013-01-01 05:00:00.25", "2013-01-02"],
            pa.timestamp("us"),
            [MOMENT, MOMENT.replace(day=2, hour=0, microsecond=0)],
        ),
        (["2013-01-01T05:00:00Z", "2013-01-01"], pa.string(), None),
        (["12:30:00"], pa.string(), ["12:30:00"]),
        (["NA", "NA"], pa.string(), ["NA", "NA"]),
        (["", ""], pa.string(), [None, None]),
    ],
)
def test_infers_a_type_that_loses_nothing(
    tmp_path: Path, values: list[str], kind: pa.DataType, read: list[object] | None
) -> None:
    found, got = column(tmp_path, *values)
    assert found == kind
    assert got == (values if read is None else read)


def test_nanoseconds_stay(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("v\n2013-01-01T05:00:00.123456789Z\n")
    table, _ = load(source("csv", tmp_path), "t.csv")
    assert table.schema.field("v").type == pa.timestamp("ns", tz="UTC")
    assert table["v"].cast(pa.int64()).to_pylist() == [1357016400123456789]


def test_null_and_empty_are_two_things(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b,c\n,"",""\nNA,"NA",7\nx,"""y""",""\n')
    assert rows(source("csv", tmp_path), "t.csv") == [
        {"a": None, "b": "", "c": None},
        {"a": "NA", "b": "NA", "c": 7},
        {"a": "x", "b": '"y"', "c": None},
    ]


def test_null_values_of_a_text_column_are_named_by_the_user(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\nNA,"NA"\nx,\n')
    made = source("csv", tmp_path, null_values=["NA"])
    assert rows(made, "t.csv") == [{"a": None, "b": "NA"}, {"a": "x", "b": None}]


def test_types_override_what_is_inferred(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id,price,at,doc,t\n1,1.10,2013-01-01,{},12:30:00\n")
    made = source(
        "csv",
        tmp_path,
        types={
            "id": "text",
            "price": "decimal(9, 2)",
            "at": "timestamp",
            "doc": "json",
            "t": "time",
        },
    )
    table, _ = load(made, "t.csv")
    assert [str(t) for t in table.schema.types] == [
        "string", "decimal128(9, 2)", "timestamp[us]", "string", "time64[us]",
    ]  # fmt: skip
    assert logical_type(table.schema.field("doc")) == "json"
    assert table["price"].to_pylist() == [Decimal("1.10")]


def test_types_with_a_misspelt_column(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("id\n1\n")
    with pytest.raises(SchemaError, match="no column 'idd'; there are id"):
        source("csv", tmp_path, types={"idd": "text"}).describe(StreamRef(path="t.csv"))


@pytest.mark.parametrize("text", ["strin", "decimal(50, 2)"])
def test_types_with_an_unknown_word(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="types: a"):
        source("csv", tmp_path, types={"a": text})


def big(tmp_path: Path, last: str, header: str = "id,v") -> Path:
    """Write a file larger than the sample whose last line is ``last``."""
    path = tmp_path / "big.csv"
    with path.open("w") as out:
        out.write(header + "\n")
        out.writelines(f"{i},{'7' * 20 if header != 'id,v' else i % 97}\n" for i in range(400_000))
        out.write(last + "\n")
    return path


@pytest.mark.parametrize("value", ["abc", "1.5", "00501", "99999999999999999999"])
def test_a_value_behind_the_sample_names_line_column_and_remedy(tmp_path: Path, value: str) -> None:
    big(tmp_path, f"5,{value}")
    made = source("csv", tmp_path)
    assert made.describe(StreamRef(path="big.csv")).schema.field("v").type == pa.int64()
    with pytest.raises(SourceDataError) as caught:
        load(made, "big.csv")
    for part in ("big.csv, line 400002", "'v'", repr(value), "int64", "types: {v: text}"):
        assert part in caught.value.message
    as_text = source("csv", tmp_path, types={"v": "text"})
    assert load(as_text, "big.csv")[0]["v"][-1].as_py() == value


def test_a_malformed_line_names_file_and_line(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,"x\ny"\n\n2,3,4\n')
    with pytest.raises(SourceDataError, match=r"t\.csv, line 5: 3 values where the header has 2"):
        source("csv", tmp_path).describe(StreamRef(path="t.csv"))


def test_a_malformed_line_behind_the_sample(tmp_path: Path) -> None:
    big(tmp_path, "5")
    with pytest.raises(SourceDataError, match=r"big\.csv, line 400002: 1 values"):
        load(source("csv", tmp_path), "big.csv")


def test_an_unclosed_quote(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text('a,b\n1,2\n3,"4\n5,6\n')
    with pytest.raises(SourceDataError, match=r"t\.csv"):
        load(source("csv", tmp_path), "t.csv")


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"PAR1\x15\x04", "a Parquet file"),
        (b"\x1f\x8b\x08\x00", "gzip"),
        (b"PK\x03\x04abc", "zip"),
        (b"a\x00\x01,b\n\x02", "binary"),
        (b'[{"a": 1}]', "JSON"),
        (b"<!DOCTYPE html><p>404</p>", "HTML"),
    ],
)
def test_not_a_csv_is_said_so(tmp_path: Path, content: bytes, what: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(SourceDataError, match=f"t.csv: not a CSV file; it is .*{what}"):
        source("csv", tmp_path).describe(StreamRef(path="t.csv"))


def test_another_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes("a,b\n1,x\n2,Zoë\n".encode("latin-1"))
    with pytest.raises(SourceDataError, match=r"line 3: not utf-8 text: set the source's encoding"):
        load(source("csv", tmp_path), "t.csv")
    made = source("csv", tmp_path, encoding="latin-1")
    assert [r["b"] for r in rows(made, "t.csv")] == ["x", "Zoë"]


def test_bytes_that_an_encoding_lacks(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"a,b\n1,x\n2,\x81\n")
    with pytest.raises(SourceDataError, match=r"t\.csv, line 3: not cp1252 text"):
        load(source("csv", tmp_path, encoding="cp1252"), "t.csv")


@pytest.mark.parametrize("codec", ["utf-8-sig", "utf-16"])
def test_byte_order_marks(tmp_path: Path, codec: str) -> None:
    (tmp_path / "t.csv").write_bytes("å,b\n1,é\n".encode(codec))
    made = source("csv", tmp_path, encoding="utf-16" if codec == "utf-16" else "utf-8")
    assert rows(made, "t.csv") == [{"å": 1, "b": "é"}]


def test_delimiter_quote_and_no_header(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("1;'a;b'\n2;'c'\n")
    made = source("csv", tmp_path, delimiter=";", quote="'", header=False)
    assert rows(made, "t.csv") == [
        {"column_1": 1, "column_2": "a;b"},
        {"column_1": 2, "column_2": "c"},
    ]
    named = source("csv", tmp_path, delimiter=";", quote="'", header=False, columns=["id", "text"])
    assert rows(named, "t.csv")[1] == {"id": 2, "text": "c"}
    with pytest.raises(SchemaError, match="columns: names 1, the first line has 3"):
        rows(source("csv", tmp_path, delimiter=";", header=False, columns=["id"]), "t.csv")


def test_a_wrong_delimiter_is_named(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a;b\n1;2\n")
    with pytest.raises(SchemaError, match="set delimiter: ';'"):
        rows(source("csv", tmp_path), "t.csv")


def test_a_column_twice_and_a_column_without_a_name(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,a\n1,2\n")
    with pytest.raises(SchemaError, match="column 'a' is there twice"):
        rows(source("csv", tmp_path), "t.csv")
    (tmp_path / "u.csv").write_text(",a\n1,2\n")
    assert rows(source("csv", tmp_path), "u.csv") == [{"column_1": 1, "a": 2}]


def test_header_only_and_empty(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b\n")
    shape = source("csv", tmp_path).describe(StreamRef(path="t.csv"))
    assert shape.schema == pa.schema([("a", pa.string()), ("b", pa.string())])
    assert "a, b: no value" in shape.notes[0]
    assert rows(source("csv", tmp_path), "t.csv") == []
    (tmp_path / "none.csv").write_text("")
    with pytest.raises(SchemaError, match=r"none\.csv: empty, without a header line"):
        rows(source("csv", tmp_path), "none.csv")


def test_embedded_newlines_long_texts_unicode_and_crlf(tmp_path: Path) -> None:
    long = "ü" * (1 << 20)
    with (tmp_path / "日本.csv").open("w", encoding="utf-8", newline="") as out:
        out.write('id,"te,xt"\r\n1,"a\r\nb"\r\n')
        out.writelines(f'{i},"{long}"\r\n' for i in range(2, 5))
        out.write("5,\N{GRINNING FACE}\r\n")
    table, files = load(source("csv", tmp_path), "日本.csv", batch_bytes=1 << 20)
    assert files == ["日本.csv"]
    assert table["te,xt"].to_pylist() == ["a\r\nb", long, long, long, "\N{GRINNING FACE}"]
    assert table["id"].to_pylist() == [1, 2, 3, 4, 5]


def test_five_hundred_columns(tmp_path: Path) -> None:
    names = [f"c{i}" for i in range(500)]
    line = ",".join(map(str, range(500)))
    (tmp_path / "wide.csv").write_text(",".join(names) + "\n" + (line + "\n") * 100)
    table, _ = load(source("csv", tmp_path), "wide.csv")
    assert table.num_columns == 500
    assert table["c499"].to_pylist() == [499] * 100


def test_some_columns_in_the_order_asked_for(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("a,b,c\n1,2,3\n")
    assert list(rows(source("csv", tmp_path), "t.csv", columns=("c", "a"))[0].items()) == [
        ("c", 3), ("a", 1),
    ]  # fmt: skip
    with pytest.raises(SchemaError, match="column 'd' doesn't exist; there are a, b, c"):
        rows(source("csv", tmp_path), "t.csv", columns=("d",))


def test_estimates_rows(tmp_path: Path) -> None:
    big(tmp_path, "1,2")
    estimate = source("csv", tmp_path).describe(StreamRef(path="big.csv")).rows_estimate
    assert estimate is not None
    assert abs(estimate - 400_001) < 40_000


def test_an_unknown_option_and_a_secret_in_a_url() -> None:
    with pytest.raises(ValueError, match="delimeter"):
        source("csv", "x", delimeter=";")
    with pytest.raises(ValueError, match="keep keys out") as caught:
        source("csv", "s3://key:canary@bucket/x")
    assert "canary" not in str(caught.value)


def test_a_path_outside_the_root_is_refused(tmp_path: Path) -> None:
    for path in ("/etc/passwd", "../x.csv", "s3://bucket/x.csv"):
        with pytest.raises(ConfigError, match="must be relative"):
            source("csv", tmp_path).describe(StreamRef(path=path))


def test_memory_is_bounded(tmp_path: Path) -> None:
    big(tmp_path, "1,2")
    made = source("csv", tmp_path)
    schema = made.describe(StreamRef(path="big.csv")).schema
    from conduit_core.connectors.base import ReadRequest
    from conduit_core.state.window import Window

    before, peak = pa.total_allocated_bytes(), 0
    reading = made.read(ReadRequest(StreamRef(path="big.csv"), schema, Window("full")))
    for _ in reading.reader:
        peak = max(peak, pa.total_allocated_bytes() - before)
    reading.close()
    assert peak < 64 * 1024 * 1024

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conduit_core.spec import quote_name, split_table
from conduit_core.spec.names import file_stem, file_type


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("orders", (None, "orders")),
        ("public.Orders", ("public", "Orders")),
        ('public."a.b"', ("public", "a.b")),
        ('"my.schema"."my ""t"""', ("my.schema", 'my "t"')),
        ("select", (None, "select")),
        ("my table", (None, "my table")),
        ("größe.🚀", ("größe", "🚀")),
        ('odd"name', (None, 'odd"name')),
    ],
)
def test_table_names_split(text: str, expected: tuple[str | None, str]) -> None:
    assert split_table(text) == expected


@pytest.mark.parametrize("text", ["", ".", "a.", ".a", "a..b", "a.b.c", '"a"b', '"a', '""'])
def test_broken_table_names_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"name|quote"):
        split_table(text)


@given(st.text(min_size=1))
def test_a_quoted_name_reads_back_as_one_part(name: str) -> None:
    assert split_table(quote_name(name)) == (None, name)


@pytest.mark.parametrize(
    ("path", "stem"),
    [
        ("flights.csv", "flights"),
        ("data/flights.csv.zip", "flights"),
        ("flights/*.parquet", "flights"),
        ("flights-*.csv.gz", "flights"),
        ("flights/2013/", "2013"),
        ("events.v2.jsonl", "events.v2"),
        ("s3://bucket/orders/*.csv?region=eu", "orders"),
        (r"C:\data\orders.csv", "orders"),
        ("orders/**/*.json", "orders"),
        ("*.csv", ""),
        ("../*.csv", ""),
    ],
)
def test_files_name_their_stream(path: str, stem: str) -> None:
    assert file_stem(path) == stem


def test_suffixes_name_the_type() -> None:
    assert file_type("a/b.CSV.GZ") == "csv"
    assert file_type("x.ndjson") == "jsonl"
    assert file_type("s3://b/x.parquet?region=eu") == "parquet"
    assert file_type("orders") is None

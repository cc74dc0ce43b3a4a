from __future__ import annotations

import getpass
import stat
from pathlib import Path

import pytest
import yaml

from conduit_core.errors import ConfigError
from conduit_dbt.places import Place, mismatch
from conduit_dbt.private_profile import from_destination
from conduit_dbt.profiles import Output, Unknown, read_output
from tests import services

PROFILES = """\
config: {x: 1}
shop:
  target: "{{ env_var('TARGET', 'dev') }}"
  outputs:
    dev:
      type: postgres
      host: "{{ env_var('HOST') }}"
      port: "{{ env_var('PORT', '5433') | as_number }}"
      user: me
      pass: "{{ env_var('DBT_ENV_SECRET_P') }}"
      dbname: shop
      schema: public
    odd: {type: postgres, host: "{{ var('host') }}"}
    none: {host: x}
bare: {outputs: {default: {type: duckdb, path: "a.duckdb"}}}
"""


def _write(folder: Path, text: str = PROFILES) -> Path:
    (folder / "profiles.yml").write_text(text)
    return folder


def test_a_target_is_rendered_with_the_environment(tmp_path: Path) -> None:
    env = {"HOST": "db", "DBT_ENV_SECRET_P": "hush"}
    output = read_output(_write(tmp_path), "shop", None, env)
    assert isinstance(output, Output)
    assert (output.type, output.text("host"), output.text("port")) == ("postgres", "db", "5433")
    assert output.text("password", "pass") == "hush"
    assert repr(output) == "Output(postgres, host=db, database=shop)"
    bare = read_output(tmp_path, "bare", None, {})
    assert repr(bare) == "Output(duckdb, database=a.duckdb)"


@pytest.mark.parametrize(
    ("target", "environment", "reason"),
    [
        (None, {"DBT_ENV_SECRET_P": "hush"}, "host: the environment variable HOST isn't set"),
        ("odd", {}, "host: it needs more than env_var ('var' is undefined)"),
    ],
)
def test_what_only_dbt_can_render_is_unknown(
    tmp_path: Path, target: str | None, environment: dict[str, str], reason: str
) -> None:
    output = read_output(_write(tmp_path), "shop", target, environment)
    assert isinstance(output, Unknown)
    assert reason in output.reason
    assert "hush" not in output.reason


@pytest.mark.parametrize(
    ("profile", "target", "message"),
    [
        ("shoe", None, "has no profile shoe; it has: bare, shop"),
        ("shop", "prod", "profile shop has no target prod; it has: dev, none, odd"),
        ("shop", "none", "target none of profile shop has no type"),
    ],
)
def test_what_is_not_in_the_file_is_said(
    tmp_path: Path, profile: str, target: str | None, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        read_output(_write(tmp_path), profile, target, {})


def test_a_file_that_is_not_there_or_not_yaml_is_said(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="from_destination"):
        read_output(tmp_path, "shop", None, {})
    with pytest.raises(ConfigError, match="isn't YAML near line") as raised:
        read_output(_write(tmp_path, "shop:\n  pass: *hush\n"), "shop", None, {})
    assert "hush" not in str(raised.value)


def test_a_destination_becomes_a_profile_without_its_secret(tmp_path: Path) -> None:
    del tmp_path
    url = (
        "postgresql://me%7B:p%7B%7Bx%7D%7D@/shop?host=/run/pg&sslmode=require&connect_timeout=7"
        "&options=-c%20a%3Db&keepalives_count=3&client_encoding=UTF8"
    )
    place = Place.postgres(url, "raw", {})
    assert repr(place) == "Place(postgres, host=/run/pg, dbname=shop, schema=raw)"
    with from_destination(place, profile="shop", target="prod", threads=3) as made:
        file = made.folder / "profiles.yml"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert stat.S_IMODE(made.folder.stat().st_mode) == 0o700
        assert yaml.safe_load(file.read_text()) == {
            "shop": {
                "target": "prod",
                "outputs": {
                    "prod": {
                        "type": "postgres",
                        "host": "/run/pg",
                        "port": 5432,
                        "user": "{{ env_var('DBT_ENV_SECRET_CONDUIT_USER') }}",
                        "password": "{{ env_var('DBT_ENV_SECRET_CONDUIT_PASSWORD') }}",
                        "dbname": "shop",
                        "schema": "raw",
                        "sslmode": "require",
                        "connect_timeout": 7,
                        "threads": 3,
                        "application_name": "conduit dbt",
                    }
                },
            }
        }
        assert made.environment == {
            "PGOPTIONS": "-c a=b",
            "PGCLIENTENCODING": "UTF8",
            "DBT_ENV_SECRET_CONDUIT_USER": "me{",
            "DBT_ENV_SECRET_CONDUIT_PASSWORD": "p{{x}}",
        }
        assert "p{{" not in repr(made)
        again = read_output(made.folder, "shop", None, made.environment)
        assert isinstance(again, Output)
        assert again.text("password") == "p{{x}}"
    assert not made.folder.exists()


def test_what_the_string_lacks_is_libpqs(tmp_path: Path) -> None:
    del tmp_path
    env = {"PGHOST": "db", "PGPORT": "6000", "PGPASSWORD": "hush", "PGSSLMODE": "require"}
    place = Place.postgres("dbname=shop", "raw", env)
    assert place.values == {
        "dbname": "shop", "host": "db", "port": "6000", "password": "hush",
        "user": getpass.getuser(),
    }  # fmt: skip
    assert "hush" not in repr(place)
    assert Place.postgres("user=me hostaddr=::1", "raw", {"PGHOST": "db"}).values["host"] == ""


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (Place("sqlite", {"path": "x"}, "main"), "of type sqlite"),
        (Place.duckdb(Path(":memory:"), "main"), "memory"),
        (Place.postgres("host=a,b port=1,2 dbname=x", "raw", {}), "one number as port"),
        (Place.postgres("service=shop", "raw", {}), "service"),
    ],
)
def test_what_dbt_cannot_reach_is_refused(place: Place, message: str) -> None:
    with pytest.raises(ConfigError, match=message), from_destination(place):
        pass


def test_a_string_that_libpq_cannot_read_is_not_quoted() -> None:
    with pytest.raises(ConfigError, match="libpq") as raised:
        Place.postgres("postgresql://me:hush@db/x?nonsense=hush", "raw", {})
    assert "hush" not in str(raised.value)
    assert raised.value.__cause__ is None


def test_a_duckdb_file_is_the_same_by_any_path(tmp_path: Path) -> None:
    file = tmp_path / "a.duckdb"
    file.write_bytes(b"")
    (tmp_path / "link").symlink_to(file)
    (tmp_path / "hard").hardlink_to(file)
    place = Place.duckdb(file, "main")
    for path in ("a.duckdb", "../" + tmp_path.name + "/a.duckdb", str(file), "link", "hard"):
        assert mismatch(Output("duckdb", {"path": path}), place, tmp_path) is None
    attached = {"path": "b.duckdb", "attach": [{"path": "a.duckdb"}]}
    assert mismatch(Output("duckdb", attached), place, tmp_path) is None
    for values in ({"path": "b.duckdb"}, {"path": "md:x?motherduck_token=hush"}, {}):
        found = mismatch(Output("duckdb", values), place, tmp_path)
        assert isinstance(found, str)
        assert "hush" not in found
    beside = mismatch(Output("duckdb", {"path": "a.duckdb"}), place, tmp_path / "dbt")
    assert f"in the project's folder, {tmp_path / 'dbt' / 'a.duckdb'}" in str(beside)
    assert mismatch(Output("postgres", {}), place, tmp_path) == (
        "the profile is of type postgres, the destination is duckdb"
    )


def test_a_path_in_the_home_folder_is_compared(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    place = Place.duckdb(tmp_path / "w.duckdb", "raw")
    output = Output("duckdb", {"type": "duckdb", "path": "~/w.duckdb"})
    assert mismatch(output, place, tmp_path / "dbt") is None


@pytest.mark.parametrize(
    ("conninfo", "environment"),
    [("postgresql://?service=shop", {}), ("postgresql://", {"PGSERVICE": "shop"})],
)
def test_a_libpq_service_is_not_guessed_at(
    conninfo: str, environment: dict[str, str], tmp_path: Path
) -> None:
    place = Place.postgres(conninfo, "raw", environment)
    output = Output("postgres", {"type": "postgres", "host": "h", "dbname": "shop"})
    assert isinstance(mismatch(output, place, tmp_path), Unknown)
    with pytest.raises(ConfigError, match="can't be given service"), from_destination(place):
        pass


def test_a_postgres_is_asked_who_it_is(
    postgres_database: str, postgres_url: str, tmp_path: Path
) -> None:
    place = Place.postgres(postgres_database, "raw", {})
    same = dict(place.values)
    assert mismatch(Output("postgres", same), place, tmp_path) is None
    elsewhere = Place.postgres(postgres_url, "raw", {}).values
    assert mismatch(Output("postgres", dict(elsewhere)), place, tmp_path) == (
        f"the profile's database is postgres, the destination is {same['dbname']}"
    )
    other_name = {**same, "host": "localhost" if same["host"] != "localhost" else "127.0.0.1"}
    assert mismatch(Output("postgres", other_name), place, tmp_path) is None
    gone = mismatch(Output("postgres", {**same, "port": "1"}), place, tmp_path)
    assert isinstance(gone, Unknown)
    assert gone.reason.startswith("the profile's server can't be asked who it is: ")
    refused = mismatch(Output("postgres", {**other_name, "password": "hush"}), place, tmp_path)
    assert isinstance(refused, Unknown)
    assert "hush" not in refused.reason


def test_another_server_with_the_same_database_is_told(postgres_url: str, tmp_path: Path) -> None:
    binaries = services.local_binaries()
    if binaries is None:
        services.missing("no PostgreSQL of our own to start beside the first")
    place = Place.postgres(postgres_url, "public", {})
    with services.LocalPostgres(binaries) as other:
        output = Output("postgres", dict(Place.postgres(other.url, "public", {}).values))
        found = mismatch(output, place, tmp_path)
    assert isinstance(found, str)
    assert "aren't the same server" in found

"""``ConduitComponent``: loaded as Dagster loads a project's folder, and run for real."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import dagster as dg
import duckdb
import pytest
import yaml
from dagster.components.testing import DefsFolderSandbox, create_defs_folder_sandbox

from dagster_conduit import CheckData, ConduitComponent, ConduitResource, StreamData
from dagster_conduit.steps import Told
from tests.warm import ROOT

# Dagster's own loading of a project's folder: a call of pydantic's that is old, and what Dagster
# itself calls a preview or beta.
pytestmark = [
    pytest.mark.filterwarnings("ignore:`parse_obj_as` is deprecated"),
    pytest.mark.filterwarnings("ignore::dagster.PreviewWarning"),
    pytest.mark.filterwarnings("ignore::dagster.BetaWarning"),
]
TYPE = "dagster_conduit.ConduitComponent"
ORDERS = dg.AssetKey(["shop", "orders"])


@pytest.fixture
def project(monkeypatch: pytest.MonkeyPatch) -> Iterator[DefsFolderSandbox]:
    """A project's folder, of a user without dbt: Dagster imports all packages with components."""
    monkeypatch.setitem(sys.modules, "dagster_dbt", ModuleType("dagster_dbt"))
    with create_defs_folder_sandbox() as made:
        yield made


def component(
    project: DefsFolderSandbox, *documents: Mapping[str, Any], kind: str = TYPE, **attributes: Any
) -> Path:
    """Scaffold a component named ``shop``, and give it these attributes beside its own."""
    folder = project.scaffold_component(ConduitComponent, "shop")
    own = {"pipeline": "pipeline.yml", "connections": {}, **attributes}
    all_of_it = [{"type": kind, "attributes": own}, *documents]
    (folder / "defs.yaml").write_text(yaml.safe_dump_all(all_of_it))
    return folder


def plain_file(folder: Path, **keys: Any) -> None:
    """Change the scaffolded pipeline."""
    file = folder / "pipeline.yml"
    file.write_text(yaml.safe_dump(yaml.safe_load(file.read_text()) | keys))


@contextmanager
def loaded(project: DefsFolderSandbox) -> Iterator[dg.Definitions]:
    with project.build_all_defs() as defs:
        dg.Definitions.validate_loadable(defs)
        yield defs


def materialize(defs: dg.Definitions, **arguments: Any) -> dg.ExecuteInProcessResult:
    with dg.DagsterInstance.ephemeral() as instance:
        job = defs.resolve_implicit_global_asset_job_def()
        return job.execute_in_process(instance=instance, raise_on_error=False, **arguments)


def rows(folder: Path, query: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        return connection.execute(query).fetchall()


def spec_of(defs: dg.Definitions, key: dg.AssetKey = ORDERS) -> dg.AssetSpec:
    return defs.resolve_assets_def(key).specs_by_key[key]


def told(project: DefsFolderSandbox) -> str:
    """Return what is said where a project can't be loaded, with the errors behind it."""
    with pytest.raises(Exception) as raised, loaded(project):  # noqa: PT011 - the text is the test
        pass
    lines: list[str] = []
    error: BaseException | None = raised.value
    while error is not None:
        lines.append(f"{type(error).__name__}: {error}")
        error = error.__cause__ or error.__context__
    return "\n".join(lines)


# --- what is scaffolded ---------------------------------------------------------------------------


def test_what_is_scaffolded_loads(project: DefsFolderSandbox) -> None:
    folder = project.scaffold_component(ConduitComponent, "shop")
    with loaded(project) as defs:
        assert spec_of(defs).kinds == {"conduit", "duckdb"}
        done = materialize(defs)
    assert done.success
    (check,) = done.get_asset_check_evaluations()
    assert check.passed
    assert rows(folder, "SELECT customer, amount FROM shop.orders ORDER BY id")[1] == (
        "Grace",
        250.0,
    )


def test_what_is_there_is_not_overwritten(project: DefsFolderSandbox) -> None:
    folder = project.defs_folder_path / "shop"
    folder.mkdir()
    (folder / "orders.csv").write_text("id,amount\n7,1\n")
    project.scaffold_component(ConduitComponent, "shop")
    assert (folder / "orders.csv").read_text() == "id,amount\n7,1\n"


@pytest.mark.parametrize("scaffold_format", ["yaml", "python"])
@pytest.mark.parametrize("place", ["pipelines/shop.yml", "src/{name}/defs/here/shop.yml"])
def test_a_scaffold_of_an_existing_pipeline_points_to_it(
    project: DefsFolderSandbox, place: str, scaffold_format: Any
) -> None:
    given = project.project_root / place.format(name=project.project_name)
    given.parent.mkdir(parents=True)
    given.write_text("destination: duckdb:///w.duckdb\nsource: {type: csv, path: .}\n")
    with given.open("a") as file:
        file.write("streams: [{path: orders.csv, into: shop.orders}]\n")
    folder = project.scaffold_component(
        ConduitComponent, "here", {"pipeline": str(given)}, scaffold_format=scaffold_format
    )
    assert not (folder / "pipeline.yml").exists()
    text = next(folder.glob("defs.yaml"), folder / "component.py").read_text()
    assert str(project.project_root) not in text, "it has to hold on other machines"
    with loaded(project) as defs:
        assert spec_of(defs).metadata["conduit/stream"] == "orders"


def test_a_scaffold_of_a_missing_pipeline_says_so(project: DefsFolderSandbox) -> None:
    with pytest.raises(Exception, match="there is no pipeline file nowhere"):
        project.scaffold_component(ConduitComponent, "shop", {"pipeline": "nowhere.yml"})


def test_dg_scaffolds_and_checks(tmp_path: Path) -> None:
    """The real command, in a project as people have one."""
    (tmp_path / "src" / "mine" / "defs").mkdir(parents=True)
    (tmp_path / "pyproject.toml").write_text(
        '[project]\nname = "mine"\nversion = "1"\n'
        '[tool.dg]\ndirectory_type = "project"\nproject.root_module = "mine"\n'
    )
    (tmp_path / "src" / "mine" / "definitions.py").write_text(
        "from pathlib import Path\nfrom dagster import definitions, load_from_defs_folder\n"
        "@definitions\ndef defs():\n"
        "    return load_from_defs_folder(path_within_project=Path(__file__).parent)\n"
    )
    # dg imports every package that has components. As for who has no dbt: its import takes 5 s.
    (tmp_path / "without").mkdir()
    (tmp_path / "without" / "dagster_dbt.py").touch()
    scaffolded = dg_(tmp_path, "scaffold", "defs", TYPE, "shop")
    assert "Creating defs" in scaffolded
    assert sorted(f.name for f in (tmp_path / "src/mine/defs/shop").iterdir()) == [
        "defs.yaml",
        "orders.csv",
        "pipeline.yml",
    ]
    checked = dg_(tmp_path, "check", "defs")
    assert "All component YAML validated successfully" in checked
    assert "All definitions loaded successfully" in checked


def dg_(project: Path, *arguments: str) -> str:
    path = [project / "without", ROOT, ROOT / "integrations" / "dagster", ROOT / "dbt_bridge"]
    env = {k: v for k, v in os.environ.items() if not k.startswith("DAGSTER")}
    done = subprocess.run(
        [Path(sys.executable).with_name("dg"), *arguments],
        cwd=project,
        env=env
        | {
            "PYTHONPATH": os.pathsep.join(map(str, path)),
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{env['PATH']}",
            "VIRTUAL_ENV": sys.prefix,
            "HOME": str(project),
            "DAGSTER_DISABLE_TELEMETRY": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


# --- attributes -----------------------------------------------------------------------------------


def test_a_file_of_the_project(project: DefsFolderSandbox) -> None:
    folder = component(project, pipeline="{{ context.project_root }}/shop.yml")
    (folder / "pipeline.yml").rename(project.project_root / "shop.yml")
    with loaded(project) as defs:
        assert spec_of(defs).key == ORDERS


def test_translation_by_yaml(project: DefsFolderSandbox) -> None:
    component(
        project,
        translation={
            "group_name": "shop",
            "key": "lake/{{ stream.table }}",
            "tags": {"of": "{{ pipeline.name }}"},
            "automation_condition": "{{ dg.AutomationCondition.eager() }}",
        },
    )
    key = dg.AssetKey(["lake", "orders"])
    with loaded(project) as defs:
        spec = spec_of(defs, key)
        assert (spec.group_name, spec.tags["of"]) == ("shop", "shop")
        assert spec.metadata["dagster/table_name"] == "shop.orders"
        assert spec.automation_condition == dg.AutomationCondition.eager()
        done = materialize(defs)
    assert [e.asset_key for e in done.get_asset_materialization_events()] == [key]
    assert [e.asset_check_key.asset_key for e in done.get_asset_check_evaluations()] == [key]


class Ours(ConduitComponent):
    """A subclass with an attribute of its own, whose methods say more than YAML can."""

    team: str = "data"

    def get_asset_spec(self, data: StreamData) -> dg.AssetSpec:
        spec = super().get_asset_spec(data)
        return spec.replace_attributes(owners=[f"team:{self.team}"])

    def get_check_spec(self, data: CheckData) -> dg.AssetCheckSpec:
        return super().get_check_spec(data)._replace(name=f"ours_{data.rule.kind}")

    def execute(
        self, context: dg.AssetExecutionContext, conduit: ConduitResource
    ) -> Iterator[Told]:
        context.log.info("ours")
        for each in conduit.run(context=context, full_refresh=True):
            if isinstance(each, dg.MaterializeResult):
                yield each._replace(metadata={**(each.metadata or {}), "by": self.team})
            else:
                yield each


def test_a_subclass_says_the_rest(project: DefsFolderSandbox) -> None:
    component(project, kind=f"{__name__}.Ours", team="shop", translation={"group_name": "g"})
    with loaded(project) as defs:
        spec = spec_of(defs)
        assert (spec.owners, spec.group_name) == (["team:shop"], "g")
        done = materialize(defs)
    assert done.success
    (event,) = done.get_asset_materialization_events()
    assert event.materialization.metadata["by"].value == "shop"
    assert [e.check_name for e in done.get_asset_check_evaluations()] == ["ours_not_null"]


def test_some_streams_with_what_their_steps_are_to_have(project: DefsFolderSandbox) -> None:
    folder = component(
        project,
        select="o* p*",
        exclude="others",
        op={
            "name": "nightly",
            "tags": {"a": "b"},
            "pool": "wh",
            "backfill_policy": {"type": "multi_run", "max_partitions_per_run": 3},
        },
        partitions_def={"type": "static", "partition_keys": ["Ada", "Grace"]},
        partition_expr="customer",
    )
    plain_file(
        folder, streams=[{"path": "orders.csv", "name": n} for n in ("orders", "others", "people")]
    )
    with loaded(project) as defs:
        made = defs.resolve_assets_def(ORDERS)
        assert made.keys == {ORDERS, dg.AssetKey(["shop", "people"])}
        assert made.node_def.name == "nightly"
        assert isinstance(made.node_def, dg.GraphDefinition)
        op = made.node_def.node_named("orders").definition
        assert isinstance(op, dg.OpDefinition)
        assert (op.tags["a"], op.pool) == ("b", "wh")
        assert made.backfill_policy == dg.BackfillPolicy.multi_run(3)
        assert made.partitions_def == dg.StaticPartitionsDefinition(["Ada", "Grace"])


def test_what_follows_the_loads(project: DefsFolderSandbox) -> None:
    folder = component(project, after=True)
    assert "the file has no `after:`" in told(project)
    plain_file(folder, after={"dbt": {}})
    with loaded(project) as defs:
        assert dg.AssetKey(["shop", "after", "dbt"]) in defs.resolve_assets_def(ORDERS).keys


def test_time_partitions_are_windows(project: DefsFolderSandbox) -> None:
    daily = {"type": "daily", "start_date": "2026-01-05"}
    folder = component(project, partitions_def=daily)
    stream = {
        "path": "orders.csv",
        "mode": "append",
        "cursor": "ordered_on",
        "cursor_timezone": "UTC",
    }
    plain_file(folder, streams=[stream])
    with loaded(project) as defs:
        assert spec_of(defs).partitions_def == dg.DailyPartitionsDefinition("2026-01-05")
        assert materialize(defs, partition_key="2026-01-06").success
    assert rows(folder, "SELECT id FROM shop.orders ORDER BY id") == [(2,), (3,)]


# --- connections ----------------------------------------------------------------------------------


def test_a_variable_is_named_and_never_shown(
    project: DefsFolderSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its value is read when a step runs, not while definitions are loaded."""
    folder = component(
        project,
        connections={
            "wh": "{{ env.CONDUIT_TEST_WH }}",
            "here": {"type": "csv", "path": "{{ env('CONDUIT_TEST_HERE', '.') }}"},
            "two": "postgres://{{ env.CONDUIT_TEST_USER }}:{{ env.CONDUIT_TEST_WH }}@h/db",
        },
    )
    destination = {"connection": "wh", "schema": "shop"}
    plain_file(folder, source={"connection": "here"}, destination=destination)
    monkeypatch.setenv("CONDUIT_TEST_WH", "canary")
    with loaded(project) as defs:
        resource = defs.get_repository_def().get_top_level_resources()["conduit"]
        shown = repr((resource, resource.config_schema.default_value, defs.resources))
        assert "${CONDUIT_TEST_WH}" in shown
        assert "${CONDUIT_TEST_USER}:${CONDUIT_TEST_WH}@" in shown
        assert "canary" not in shown
        monkeypatch.setenv("CONDUIT_TEST_WH", f"duckdb:///{folder}/warehouse.duckdb")
        assert materialize(defs).success
        monkeypatch.delenv("CONDUIT_TEST_WH")
        done = materialize(defs)
    error = done.failure_data_for_node("shop.orders")
    assert error is not None
    assert error.user_failure_data is not None
    assert "CONDUIT_TEST_WH" in str(error.user_failure_data.description)
    assert rows(folder, "SELECT count(*) FROM shop.orders") == [(3,)]


def test_the_project_may_give_the_resource(project: DefsFolderSandbox) -> None:
    folder = component(project, connections=None)
    defs_yaml = yaml.safe_load((folder / "defs.yaml").read_text())
    del defs_yaml["attributes"]["connections"]
    (folder / "defs.yaml").write_text(yaml.safe_dump(defs_yaml))
    assert "'conduit'" in told(project)
    (project.defs_folder_path / "resources.py").write_text(
        "import dagster as dg\nfrom dagster_conduit import ConduitResource\n"
        "@dg.definitions\ndef resources():\n"
        "    return dg.Definitions(resources={'conduit': ConduitResource()})\n"
    )
    with loaded(project) as defs:
        assert materialize(defs).success


def test_components_may_share_connections(project: DefsFolderSandbox) -> None:
    """Of several files, and of one file."""
    again = {"type": TYPE, "attributes": {"pipeline": "again.yml", "connections": {}}}
    folder = component(project, again)
    (folder / "again.yml").write_text((folder / "pipeline.yml").read_text().replace("shop", "two"))
    project.scaffold_component(ConduitComponent, "eu/shop")
    (project.defs_folder_path / "eu/shop/pipeline.yml").write_text(
        (folder / "pipeline.yml").read_text().replace("shop", "eu")
    )
    with loaded(project) as defs:
        assert set(defs.resolve_all_asset_keys()) >= {
            dg.AssetKey([name, "orders"]) for name in ("shop", "two", "eu")
        }
        assert materialize(defs).success


def test_components_with_other_connections_are_refused(project: DefsFolderSandbox) -> None:
    again = {
        "pipeline": "pipeline.yml",
        "connections": {"a": "sqlite:///a.db"},
        "op": {"name": "x"},
    }
    component(project, {"type": TYPE, "attributes": {**again, "translation": {"key": "other"}}})
    assert "different resources with same key 'conduit'" in told(project)


# --- bad input ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ({"pipelin": "x.yml"}, ["pipelin", "defs.yaml"]),
        ({"op": {"retries": 3}}, ["retries", "defs.yaml"]),
        ({"translation": {"group": "x"}}, ["group", "defs.yaml"]),
        ({"translation": {"group_name": "{{ streem.table }}"}}, ["streem", "stream"]),
        ({"partitions_def": {"type": "yearly", "start_date": "2026"}}, ["yearly", "defs.yaml"]),
        ({"pipeline": "nowhere.yml"}, ["ConfigError", "nowhere.yml"]),
        ({"select": "ordres"}, ["ConfigError", "ordres", "orders"]),
    ],
    ids=lambda given: "" if isinstance(given, list) else next(iter(given)),
)
def test_bad_attributes_are_named(
    project: DefsFolderSandbox, attributes: dict[str, Any], said: list[str]
) -> None:
    component(project, **attributes)
    text = told(project)
    assert not [word for word in said if word not in text], text


def test_two_streams_of_one_key_are_named(project: DefsFolderSandbox) -> None:
    folder = component(project, translation={"key": "one"})
    plain_file(folder, streams=[{"path": "orders.csv", "name": n} for n in ("a", "b")])
    assert re.search(r"streams 'a' and 'b' have one asset key, 'one'", told(project))

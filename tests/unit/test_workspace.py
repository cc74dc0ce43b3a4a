"""The workspace holds together: versions, names, what an import costs, and what no file may say."""

from __future__ import annotations

import ast
import importlib
import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import PackageNotFoundError, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import jsonschema
import pytest

ROOT = Path(__file__).parents[2]
MEMBERS = {
    "airflow_provider_conduit": "providers/airflow",
    "prefect_conduit": "integrations/prefect",
    "dagster_conduit": "integrations/dagster",
    "conduit_dbt": "dbt_bridge",
}
PACKAGES = {"conduit_core": ".", **MEMBERS}
DRIVERS = {
    "adbc_driver_manager", "adbc_driver_postgresql", "adbc_driver_sqlite", "duckdb", "sqlite3",
    "ijson", "psycopg", "sqlalchemy", "pandas", "polars", "airflow", "prefect", "dagster", "dbt",
}  # fmt: skip
OTHER_PROJECT = "conduit" + "-core"  # on the public index it isn't ours: nothing may install it


def project(folder: str) -> dict[str, Any]:
    table: dict[str, Any] = tomllib.loads((ROOT / folder / "pyproject.toml").read_text())["project"]
    return table


def tracked_files() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a git checkout")
    return [path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file()]


@pytest.mark.parametrize(("module", "folder"), PACKAGES.items())
def test_versions_agree(module: str, folder: str) -> None:
    declared = project(folder)
    assert importlib.import_module(module).__version__ == declared["version"]
    assert version(declared["name"]) == declared["version"]


@pytest.mark.parametrize(("module", "folder"), PACKAGES.items())
def test_each_package_is_typed_documented_and_licensed(module: str, folder: str) -> None:
    assert (ROOT / folder / module / "py.typed").is_file()
    assert (ROOT / folder / "README.md").read_text().startswith("# ")
    assert (ROOT / folder / "LICENSE").read_text() == (ROOT / "LICENSE").read_text()


@pytest.mark.parametrize("folder", MEMBERS.values())
def test_members_depend_on_the_root_by_exact_version(folder: str) -> None:
    assert f"conduit-load=={project('.')['version']}" in project(folder)["dependencies"]


def test_nothing_depends_on_the_other_project_of_our_modules_name() -> None:
    asked = re.compile(
        rf"(?im)^[\s\"'-]*{OTHER_PROJECT.replace('-', '[-_.]+')}\s*([\[=<>!~;\"',]|$)"
    )
    files = [ROOT / folder / "pyproject.toml" for folder in PACKAGES.values()]
    for path in [*files, ROOT / "constraints.txt"]:
        assert not asked.search(path.read_text()), path
    with pytest.raises(PackageNotFoundError):
        version(OTHER_PROJECT)


def test_the_command_and_the_extension_points_are_declared() -> None:
    (command,) = entry_points(group="console_scripts", name="conduit")
    assert command.dist is not None
    assert command.dist.name == "conduit-load"
    (provider,) = (
        point for point in entry_points(group="apache_airflow_provider")
        if point.value.startswith("airflow_provider_conduit:")
    )  # fmt: skip
    airflow = find_spec("airflow")
    assert airflow is not None
    assert airflow.submodule_search_locations
    schema = Path(airflow.submodule_search_locations[0]) / "provider_info.schema.json"
    info = provider.load()()
    jsonschema.validate(info, json.loads(schema.read_text()))
    assert info["package-name"] == project("providers/airflow")["name"]


@pytest.mark.parametrize("module", PACKAGES)
def test_importing_a_package_imports_no_driver_and_no_orchestrator(module: str) -> None:
    # what a wrapper is made of: Dagster's and Prefect's own classes; Prefect imports pandas itself
    own = {"dagster_conduit": "dagster", "prefect_conduit": "prefect.main"}
    first = f"import {own[module]}; " if module == "prefect_conduit" else ""
    script = (
        f"import sys; {first}before = set(sys.modules); "  # a .pth file may have imported some, too
        f"import {module}; print(*{{name.partition('.')[0] for name in set(sys.modules) - before}})"
    )
    printed = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert (DRIVERS - {own.get(module, "").partition(".")[0]}).isdisjoint(printed.stdout.split())


def test_constraints_hold_versions_and_nothing_else() -> None:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pin = re.compile(r"[a-z0-9-]+==[0-9][^\s;/@]*( ; [^/@]+)?")
    assert [line for line in lines if not line.startswith("#") and not pin.fullmatch(line)] == []
    assert [line for line in lines if line.startswith("#") and "/" in line] == []


def test_constraints_pin_every_direct_dependency() -> None:
    pinned = {
        line.partition("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines()
    }
    root = tomllib.loads((ROOT / "pyproject.toml").read_text())
    asked = [text for group in root["dependency-groups"].values() for text in group]
    for folder in PACKAGES.values():
        asked += project(folder)["dependencies"]
        for extra in project(folder).get("optional-dependencies", {}).values():
            asked += extra
    names = {re.split(r"[\[<>=!~; ]", text)[0].lower().replace("_", "-") for text in asked}
    assert names - pinned == {"conduit-load", "conduit-dbt"}


def test_no_tracked_file_names_a_registry_or_a_path_of_some_machine() -> None:
    hosts = ["pypi" + ".org", "python" + "hosted", "registry." + "npmjs", "deb." + "debian"]
    paths = ["/" + "work/", "/" + "root/"]
    words = re.compile("|".join(map(re.escape, hosts + paths)))
    found = []
    for path in tracked_files():
        text = path.read_bytes().decode(errors="ignore")
        found += [f"{path.relative_to(ROOT)}: {hit.group()}" for hit in words.finditer(text)]
    assert found == []


def test_no_room_is_too_full() -> None:
    full = []
    for folder, module in ((folder, module) for module, folder in PACKAGES.items()):
        for path in sorted((ROOT / folder / module).rglob("*.py")):
            text = path.read_text()
            if text.count("\n") > 600:
                full.append(f"{path.relative_to(ROOT)}: over 600 lines")
            full += [
                f"{path.relative_to(ROOT)}: {node.name} is over 80 lines"
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
                and (node.end_lineno or 0) - node.lineno + 1 > 80
            ]
    assert full == []

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from conduit_core.errors import ConfigError
from conduit_dbt.folder import folder
from conduit_dbt.project import Project


def _project(root: Path, text: str = "name: shop\nprofile: warehouse\n") -> Path:
    root.mkdir(exist_ok=True)
    (root / "dbt_project.yml").write_text(text)
    return root


def test_a_project_has_dbts_defaults(tmp_path: Path) -> None:
    project = Project.read(_project(tmp_path), {})
    assert project == Project(
        root=tmp_path,
        name="shop",
        profile="warehouse",
        model_paths=("models",),
        target_path=tmp_path / "target",
        packages=(),
    )


def test_settings_are_rendered_with_the_environment(tmp_path: Path) -> None:
    _project(
        tmp_path,
        "name: shop\nprofile: \"{{ env_var('P', 'dev') }}\"\nmodel-paths: [a, b]\n"
        "target-path: \"{{ env_var('OUT') }}\"\n",
    )
    project = Project.read(tmp_path, {"P": "prod", "OUT": "made"})
    assert project.profile == "prod"
    assert project.model_paths == ("a", "b")
    assert project.target_path == tmp_path / "made"
    unset = Project.read(tmp_path, {})
    assert (unset.profile, unset.target_path) == ("dev", tmp_path / "target")
    assert Project.read(tmp_path, {"DBT_TARGET_PATH": "/x"}).target_path == Path("/x")


def test_packages_are_those_declared_and_installed(tmp_path: Path) -> None:
    _project(tmp_path)
    (tmp_path / "packages.yml").write_text(
        "packages:\n"
        "  - {package: dbt-labs/dbt_utils, version: 1.3.0}\n"
        "  - {git: 'https://example.com/team/audit.git', revision: main}\n"
        "  - {local: ../shared}\n"
        "  - {tarball: 'https://example.com/x.tar.gz', name: packed}\n"
    )
    (tmp_path / "dependencies.yml").write_text("projects: [{name: upstream}]\n")
    _project_in = tmp_path / "dbt_packages" / "installed"
    _project_in.parent.mkdir()
    _project(_project_in)
    assert Project.read(tmp_path, {}).packages == (
        "audit", "dbt_utils", "installed", "packed", "shared",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "isn't a dbt project"),
        ("a: [", r"dbt_project.yml: isn't YAML near line \d"),
        ("- a\n", "isn't a dbt project: it has no keys"),
        ("profile: x\n", "has no name"),
    ],
)
def test_what_is_not_a_project_is_said(tmp_path: Path, text: str | None, message: str) -> None:
    if text is not None:
        _project(tmp_path, text)
    with pytest.raises(ConfigError, match=message) as raised:
        Project.read(tmp_path, {})
    assert str(tmp_path) in str(raised.value)


def test_which_profiles_apply(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    project = Project.read(_project(tmp_path / "p"), {})
    assert project.profiles_dir(environment={}) == tmp_path / "home" / ".dbt"
    (project.root / "profiles.yml").write_text("")
    assert project.profiles_dir(environment={}) == project.root
    assert project.profiles_dir(environment={"DBT_PROFILES_DIR": "there"}) == (
        project.root / "there"
    )
    assert project.profiles_dir(Path("~/x"), {"DBT_PROFILES_DIR": "there"}) == (
        tmp_path / "home" / "x"
    )


def test_a_folder_is_reused_and_never_shared(tmp_path: Path) -> None:
    project = Project.read(_project(tmp_path), {})
    with folder(project, "a/b c") as one:
        assert one == tmp_path / "target" / "conduit" / "a_b_c"
        with folder(project, "a/b c") as two, folder(project, "a/b c") as three:
            assert [two.name, three.name] == ["a_b_c-2", "a_b_c-3"]
    with folder(project, "a/b c") as again:
        assert again == one


def test_a_killed_process_lets_go_of_its_folder(tmp_path: Path) -> None:
    project = Project.read(_project(tmp_path), {})
    code = (
        "import sys, pathlib; from conduit_dbt.folder import folder;"
        "from conduit_dbt.project import Project\n"
        "with folder(Project.read(pathlib.Path(sys.argv[1])), 'x'):\n"
        "  print('held', flush=True); input()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with folder(project, "x") as second:
            assert second.name == "x-2"
        holder.kill()
        holder.wait()
    with folder(project, "x") as first:
        assert first.name == "x"


def test_a_target_path_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    _project(tmp_path, "name: shop\ntarget-path: file\n")
    with (
        pytest.raises(ConfigError, match="DBT_TARGET_PATH"),
        folder(Project.read(tmp_path, {}), "x"),
    ):
        pass


def test_whether_a_file_of_the_project_names_a_word(tmp_path: Path) -> None:
    (tmp_path / "dbt_project.yml").write_text("name: shop\n")
    for made in ("models", "target", ".venv", "env", "dbt_packages/p/macros"):
        (tmp_path / made).mkdir(parents=True)
    (tmp_path / "env/pyvenv.cfg").touch()
    project = Project.read(tmp_path)
    for hidden in ("target/a.sql", ".venv/a.py", "env/a.py", "models/a.csv"):
        (tmp_path / hidden).write_text("{{ var('conduit') }}")
    (tmp_path / "models/a.sql").write_text("-- conduit, 'conduits'")
    assert not project.mentions("conduit")
    macro = tmp_path / "dbt_packages/p/macros/a.sql"
    macro.write_text('{{ var("conduit", {}) }}')
    assert project.mentions("conduit")

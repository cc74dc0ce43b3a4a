"""Settings of ``notify:`` that are wrong: what is said of them, and of which rule."""

from __future__ import annotations

from pathlib import Path

import pytest

from conduit_core.cli import main
from conduit_core.errors import ConfigError
from tests.observe.receivers import hook
from tests.observe.shop import make_shop


@pytest.mark.parametrize(
    "notify",
    [
        {"on": "failure", "to": "${NOT_SET}"},
        [{"on": "failure", "to": ["${NOT_SET}"]}],
        {"on": "failure", "to": {"url": "https://example.com", "secret": "${NOT_SET}"}},
    ],
)
def test_a_variable_that_isn_t_set_is_one_problem(notify: object, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as raised:
        make_shop(tmp_path, notify=notify)
    assert "environment variable NOT_SET is not set" in raised.value.message
    assert "problems" not in raised.value.message
    assert "must" not in raised.value.message


def test_another_rule_s_problem_is_told_beside_a_variable_that_isn_t_set(tmp_path: Path) -> None:
    rules = [{"on": "failure", "to": "${NOT_SET}"}, {"on": "failure", "to": "no-url"}]
    with pytest.raises(ConfigError, match="`to` must be a URL"):
        make_shop(tmp_path, notify=rules)


def test_the_command_names_the_rule_of_each_receiver(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with hook() as receiver:
        (tmp_path / "pipeline.yml").write_text(
            "name: shop\nsource: {type: sqlite, path: shop.db}\nstreams: [orders]\n"
            "destination: {type: duckdb, path: wh.duckdb}\n"
            f"notify:\n  - {{on: failure, to: '{receiver.url}/a'}}\n"
            f"  - {{on: success, to: '{receiver.url}/b'}}\n"
        )
        receiver.answers = [204, 404]  # whichever comes first
        assert main(["notify", "test", str(tmp_path / "pipeline.yml")]) == 3
        shown = capsys.readouterr().out
        assert "notify[0]" in shown
        assert "notify[1]" in shown

"""What a new user gets wrong in the first hour: each message says how to mend it."""

from __future__ import annotations

import logging
import sys
from pathlib import Path

import pytest

import conduit_core
from conduit_core import LoadHeard, PlainLines
from conduit_core import events as ev
from conduit_core.errors import ConfigError
from conduit_core.observe.alerts import check_notify, try_alerts
from conduit_core.observe.receivers import KINDS, receiver_of
from tests.observe.shop import make_shop
from tests.observe.told import MOMENT, finished, told

HOOK = "http://127.0.0.1:1/hooks/a-token"
LATE = {module.partition(":")[0].rpartition(".")[2] for module in KINDS.values()} | {
    "otlp_batches",
    "otlp_metrics",
    "otlp_sending",
    "otlp_traces",
    "openlineage_client",
    "openlineage_facets",
    "prometheus_text",
}
MAIL = "mailto://127.0.0.1:1?from=a@example.com&to=b@example.com"


@pytest.mark.parametrize(
    ("to", "package", "extra"),
    [
        ("textfile:conduit.prom", "prometheus_client", "prometheus"),
        ("pushgateway://127.0.0.1:1", "prometheus_client", "prometheus"),
        ("otlp+http://127.0.0.1:1", "opentelemetry.exporter.otlp.proto.http", "otlp"),
        ("dogstatsd:", "datadog.dogstatsd.base", "datadog"),
        ("openlineage+http://127.0.0.1:1", "openlineage.client", "openlineage"),
    ],
)
def test_a_receiver_without_its_package_says_what_to_install(
    to: str, package: str, extra: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    without(package, monkeypatch)
    (said,) = told(to, finished())
    assert f"pip install 'conduit-load[{extra}]'" in said


def without(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a package not be installed for what imports it from here on."""
    for name in list(sys.modules):  # what has it imported already, and its own modules
        ours = name.startswith("conduit_core.observe.") and name.rpartition(".")[2] in LATE
        if ours or name.startswith(f"{package}."):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)


def test_lineage_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without("openlineage.client", monkeypatch)
    loads = [("orders", LoadHeard())]
    with pytest.raises(ConfigError, match="needs openlineage, which isn't") as caught:
        conduit_core.lineage_datasets(make_shop(tmp_path), loads, pytest.fail)
    assert caught.value.command == "pip install 'conduit-load[openlineage]'"


@pytest.mark.parametrize("to", ["textfile:missing/conduit.prom", "emf:missing/shop.log"])
def test_a_file_in_a_folder_that_isn_t_there(
    to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (said,) = told(to, finished())
    assert f"there is no folder {tmp_path / 'missing'}; make it" in said
    assert to in said, "it is called as it was written"
    assert "Error" not in said
    assert ".lock" not in said


def test_a_file_is_shown_as_it_can_be_written() -> None:
    for word in ("textfile:a.prom", "textfile:///srv/a.prom", "emf:a.log", "dogstatsd:///a.sock"):
        assert receiver_of(receiver_of(word).shown).url == receiver_of(word).url
        assert receiver_of(word).shown == word


@pytest.mark.parametrize(("package", "to"), [("jinja2", HOOK), ("httpx", HOOK), ("apprise", MAIL)])
def test_alerts_without_their_packages_say_what_to_install(
    package: str, to: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop = make_shop(tmp_path, notify={"on": "failure", "if": "rejected == 0", "to": to})
    monkeypatch.setitem(sys.modules, package, None)
    (item,) = check_notify(shop)
    assert not item.ok
    assert item.remedy == "pip install 'conduit-load[notify]'"
    if package == "jinja2":
        with pytest.raises(ConfigError, match=r"pip install 'conduit-load\[notify\]'"):
            try_alerts(shop)
    else:
        (tried,) = try_alerts(shop)
        assert "pip install 'conduit-load[notify]'" in tried.reason


def test_a_condition_that_isn_t_whole_says_so(tmp_path: Path) -> None:
    shop = make_shop(tmp_path, notify={"on": "failure", "if": "rejected >", "to": HOOK})
    (item,) = check_notify(shop)
    assert "`if`: it isn't whole" in item.detail


def test_a_runner_s_log_has_warnings_as_warnings(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("a.runner")
    caplog.set_level(logging.INFO, log.name)
    lines = PlainLines(log.info, warn=log.warning, clock=False)
    lines(ev.Notice(at=MOMENT, pipeline="shop", level="warning", message="careful"))
    lines(ev.Notice(at=MOMENT, pipeline="shop", level="info", message="well"))
    assert [(r.levelname, r.getMessage()) for r in caplog.records] == [
        ("WARNING", "shop: warning: careful"),
        ("INFO", "shop: well"),
    ]

"""examples/observability: each file is parsed, and says only what there is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from conduit_core.observe.jsonlog import log_schema
from conduit_core.observe.metrics import METRICS
from conduit_core.observe.receivers import receiver_of
from tests.observe.servers import installed
from tests.observe.shop import make_shop

HERE = Path(__file__).parents[2] / "examples" / "observability"
DASHBOARD: dict[str, Any] = json.loads((HERE / "grafana-dashboard.json").read_text())
RULES: dict[str, Any] = yaml.safe_load((HERE / "prometheus-rules.yml").read_text())
ENDINGS = {"counter": ("",), "gauge": ("",), "histogram": ("_bucket", "_count", "_sum")}
LABELS = {f"{m.name}{end}": m.labels for m in METRICS for end in ENDINGS[m.kind]}
LABELS |= {m.name: m.labels for m in METRICS}
ADDED = {"le", "job", "instance"}
"""Labels that are Prometheus' own."""


def _panels() -> list[dict[str, Any]]:
    return [p for p in DASHBOARD["panels"] if p["type"] != "row"]


def _rules() -> list[dict[str, Any]]:
    return [rule for group in RULES["groups"] for rule in group["rules"]]


def _expressions() -> Iterator[tuple[str, str]]:
    for panel in _panels():
        for target in panel["targets"]:
            yield f"panel {panel['title']} {target['refId']}", target["expr"]
    for rule in _rules():
        yield rule.get("alert") or rule["record"], rule["expr"]
    for page in sorted((HERE.parents[1] / "docs" / "observe").glob("*.md")):
        for n, text in enumerate(re.findall(r"```promql\n(.*?)```", page.read_text(), re.DOTALL)):
            for line in re.split(r"\n\n", text.strip()):
                yield f"{page.name} {n} {line[:20]}", line


def _parsed(expression: str) -> promql_parser.Expr:
    """Parse an expression as Grafana sends it: with its variables filled in."""
    for name, value in {
        "$__rate_interval": "5m",
        "$__range": "24h",
        "$pipeline": "shop",
        "$stream": "orders|customers",
    }.items():
        expression = expression.replace(name, value)
    assert "$" not in expression
    return promql_parser.parse(expression)


def _selected(expression: promql_parser.Expr) -> Iterator[tuple[str, set[str]]]:
    found: list[Any] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.MatrixSelector):
            node = node.vector_selector
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)

    promql_parser.walk(expression, visit)
    for node in found:
        yield node.name, {m.name for m in node.matchers.matchers}


@pytest.mark.parametrize(("where", "expression"), list(_expressions()), ids=lambda x: x[:40])
def test_p26_expressions_parse_and_name_only_metrics_that_there_are(
    where: str, expression: str
) -> None:
    recorded = {r["record"] for r in _rules() if "record" in r}
    selected = list(_selected(_parsed(expression)))
    assert selected or "vector" in expression
    of_all: set[str] = set()
    for name, matched in selected:
        if name in recorded:
            assert not matched
            continue
        assert name in LABELS, f"{where}: {name}"
        assert matched <= {*LABELS[name], *ADDED}, f"{where}: {name} has no {matched}"
        of_all |= set(LABELS[name])
    for labels in re.findall(r"\bby \(([^)]*)\)", expression):
        names = {label.strip() for label in labels.split(",")}
        assert names <= {*of_all, *ADDED}, f"{where}: by {names}"


def test_words_matched_are_words_that_there_are() -> None:
    outcomes = {"published", "empty", "replayed", "failed", "succeeded", "skipped", "sent"}
    for where, expression in _expressions():
        for name, value in re.findall(r'(outcome|kind)!?=~?"([^"$]*)"', expression):
            known = outcomes if name == "outcome" else {"read", "rejected"}
            assert value in known, where


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {n for p in _panels() for t in p["targets"] for n, _ in _selected(_parsed(t["expr"]))}
    shown = {re.sub(r"_(bucket|count|sum)$", "", name) for name in shown}
    left_out = {m.name for m in METRICS} - shown
    # its age is drawn from the moment; of a hook, that it failed is what matters
    assert left_out == {"conduit_watermark_age_seconds", "conduit_hook_duration_seconds"}


def test_the_dashboard_is_one() -> None:
    assert DASHBOARD["schemaVersion"] >= 36
    variables = {v["name"]: v for v in DASHBOARD["templating"]["list"]}
    assert set(variables) == {"datasource", "pipeline", "stream"}
    for name in ("pipeline", "stream"):
        query = variables[name]["query"]["query"]
        found = re.fullmatch(r"label_values\((.+), (\w+)\)", query)
        assert found is not None
        assert found[2] == name
        ((metric, _),) = _selected(_parsed(found[1]))
        assert name in LABELS[metric]
        assert variables[name]["includeAll"]
        assert variables[name]["multi"]
    ids = [p["id"] for p in DASHBOARD["panels"]]
    assert len(ids) == len(set(ids))
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert place["x"] + place["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    units = {"short", "s", "bytes", "percentunit"}
    for panel in _panels():
        assert panel["type"] in {"timeseries", "stat"}
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert panel["fieldConfig"]["defaults"]["unit"] in units
        refs = [t["refId"] for t in panel["targets"]]
        assert len(refs) == len(set(refs)) > 0
        for target in panel["targets"]:
            for label in re.findall(r"\{\{(\w+)\}\}", target["legendFormat"]):
                assert re.search(rf"by \([^)]*\b{label}\b", target["expr"]), panel["title"]


def test_rules_say_what_and_how_bad() -> None:
    alerts = [r for r in _rules() if "alert" in r]
    assert len(alerts) == 6
    for rule in alerts:
        assert rule["labels"]["severity"] in {"critical", "warning"}
        assert set(rule["annotations"]) == {"summary", "description"}
        for label in re.findall(r"\$labels\.(\w+)", json.dumps(rule)):
            assert label in {"pipeline", "stream", "about"}
    tried = yaml.safe_load((HERE / "prometheus-rules.test.yml").read_text())["tests"]
    cases: dict[str, set[bool]] = {}
    for test in tried:
        for case in test["alert_rule_test"]:
            cases.setdefault(case["alertname"], set()).add(bool(case["exp_alerts"]))
    assert set(cases) == {r["alert"] for r in alerts}
    for name in set(cases) - {"ConduitLagGrowing"}:  # two of its series don't fire in one case
        assert cases[name] == {True, False}, name


@pytest.mark.parametrize(
    "arguments",
    [
        ("check", "rules", "prometheus-rules.yml"),
        ("check", "config", "prometheus.yml"),
        ("test", "rules", "prometheus-rules.test.yml"),
    ],
    ids=" ".join,
)
def test_p26_promtool_agrees(arguments: tuple[str, ...]) -> None:
    command = [installed("promtool"), *arguments]
    done = subprocess.run(command, cwd=HERE, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


# --- logs -----------------------------------------------------------------------------------------

TEMPLATE: dict[str, Any] = json.loads((HERE / "index-template.json").read_text())
MAPPED: dict[str, Any] = TEMPLATE["template"]["mappings"]["properties"]["conduit"]["properties"]
FILEBEAT: dict[str, Any] = yaml.safe_load((HERE / "filebeat.yml").read_text())


def _renamed(event: str) -> dict[str, str]:
    """Return which keys Filebeat renames in an event."""
    (rename,) = [p["rename"] for p in FILEBEAT["processors"] if "rename" in p]
    if event != rename["when.equals"]["conduit.event"]:
        return {}
    plain = [(f["from"], f["to"]) for f in rename["fields"]]
    return {a.removeprefix("conduit."): b.removeprefix("conduit.") for a, b in plain}


def _json_types(node: dict[str, Any]) -> set[str]:
    if node.get("format") == "date-time":
        return {"date"}
    if "type" not in node:
        values = node.get("enum", [node.get("const")])
        return {"integer" if isinstance(v, int) else "string" for v in values}
    kinds = node["type"] if isinstance(node["type"], list) else [node["type"]]
    return set().union(*(_json_types(node["items"]) if k == "array" else {k} for k in kinds))


FITTING = {
    "string": {"keyword", "text"},
    "date": {"date"},
    "integer": {"long"},
    "number": {"double"},
    "boolean": {"boolean"},
    "object": {"object"},
}


def test_p26_every_key_of_the_log_is_mapped_with_a_fitting_type() -> None:
    schema: Any = log_schema()
    found: set[str] = set()
    for event, part in [("", schema), *schema["$defs"].items()]:
        for key, node in part["properties"].items():
            name = _renamed(event).get(key, key)
            found.add(name)
            for kind in _json_types(node) - {"null"}:
                assert MAPPED[name]["type"] in FITTING[kind], f"{event}.{key} is {kind}"
    assert set(MAPPED) == found


def _fits(value: object, kind: str) -> bool:
    if isinstance(value, list):
        return all(_fits(each, kind) for each in value)
    match kind:
        case "keyword" | "text":
            return isinstance(value, str)
        case "date":
            return isinstance(value, str) and datetime.fromisoformat(value).tzinfo is not None
        case "long":
            return isinstance(value, int) and not isinstance(value, bool)
        case "double":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "boolean":
            return isinstance(value, bool)
        case _:
            return isinstance(value, dict)


def _dynamic(path: str) -> str:
    for template in TEMPLATE["template"]["mappings"]["dynamic_templates"]:
        ((_, rule),) = template.items()
        if re.fullmatch(rule["path_match"].replace(".", r"\.").replace("*", ".*"), path):
            kind: str = rule["mapping"]["type"]
            return kind
    raise AssertionError(f"{path} isn't mapped")


def test_p26_a_real_log_goes_through_the_mapping(tmp_path: Path) -> None:
    make_shop(tmp_path)
    (tmp_path / "pipeline.yml").write_text(
        "name: shop\nsource: sqlite:///shop.db\ndestination: sqlite:///warehouse.db\nstreams:\n"
        "  - {table: orders, mode: append, cursor: [updated_at, id], quality: [{rule: regex,"
        " column: email, pattern: '@', action: dlq}]}\n  - {table: missing}\n"
    )
    env = {"CONDUIT_OBSERVE": "emf:", "PYTHONPATH": ":".join(sys.path), "HOME": str(tmp_path)}
    arguments = ["run", "--log-format", "json", "--debug"]
    done = subprocess.run(
        [sys.executable, "-m", "conduit_core.cli", *arguments],
        cwd=tmp_path,
        env=env,
        capture_output=True,
        text=True,
        check=False,
    )
    records = [json.loads(line) for line in done.stderr.splitlines()]
    events = {r["event"] for r in records}
    assert {"rule_checked", "stream_failed", "run_finished", "metrics", "plan_ready"} <= events
    for record in records:
        for key, value in record.items():
            name = _renamed(record["event"]).get(key, key)
            kind = MAPPED[name]["type"] if name in MAPPED else _dynamic(f"conduit.{name}")
            assert _fits(value, kind), f"{record['event']}.{key}: {value!r} is no {kind}"
            if name in {"counts", "stages"}:
                for inner, number in value.items():
                    assert _fits(number, _dynamic(f"conduit.{name}.{inner}"))


def test_filebeat_reads_our_lines_as_they_are() -> None:
    (source,) = FILEBEAT["filebeat.inputs"]
    assert source["type"] == "filestream"
    assert source["id"]
    ((parser, options),) = source["parsers"][0].items()
    assert parser == "ndjson"
    assert options["target"] == "conduit"
    template = FILEBEAT["setup.template"]
    assert (HERE / template["json"]["path"]).exists()
    assert TEMPLATE["index_patterns"] == [template["pattern"]]
    assert FILEBEAT["output.elasticsearch"]["index"] == template["name"] == "conduit-logs"


def test_cloudwatchs_files_ship_what_we_write() -> None:
    agent = json.loads((HERE / "cloudwatch-agent.json").read_text())
    files = agent["logs"]["logs_collected"]["files"]["collect_list"]
    assert len({f["log_group_name"] for f in files}) == 2
    for each in files:
        assert set(each) >= {"file_path", "log_group_name", "log_stream_name"}
        assert Path(each["file_path"]).is_absolute()
    task = json.loads((HERE / "ecs-task.json").read_text())
    (container,) = task["containerDefinitions"]
    assert container["logConfiguration"]["logDriver"] == "awslogs"
    assert container["command"][:2] == ["conduit", "run"]
    (variable,) = container["environment"]
    assert variable["name"] == "CONDUIT_OBSERVE"
    assert receiver_of(variable["value"]).kind == "emf"


def test_datadogs_files_take_what_we_send() -> None:
    text = (HERE / "datadog.yaml").read_text()
    agent = yaml.safe_load(text)
    assert agent["use_dogstatsd"] is True
    protocols = agent["otlp_config"]["receiver"]["protocols"]
    ports = {name: p["endpoint"].rpartition(":")[2] for name, p in protocols.items()}
    assert ports == {"grpc": "4317", "http": "4318"}
    for word in re.findall(r"(?:dogstatsd|otlp\+\w+)://\S+?(?=[,;:]?\s|$)", text):
        receiver = receiver_of(word)
        if receiver.kind == "otlp":
            assert str(receiver.url.port) == ports[receiver.transport]
        elif receiver.url.hostname:
            assert receiver.url.port == agent["dogstatsd_port"]
        else:
            assert receiver.url.path == agent["dogstatsd_socket"]
    (logs,) = yaml.safe_load((HERE / "datadog-logs.yaml").read_text())["logs"]
    assert logs["type"] == "file"
    assert set(logs) >= {"path", "service", "source"}
    (rule,) = logs["log_processing_rules"]
    assert re.search(rule["pattern"], '{"at":"x","level":"info","event":"metrics","message":""}')


def test_the_collectors_file_takes_what_we_send() -> None:
    text = (HERE / "otel-collector.yaml").read_text()
    collector = yaml.safe_load(text)
    protocols = collector["receivers"]["otlp"]["protocols"]
    ports = {name: p["endpoint"].rpartition(":")[2] for name, p in protocols.items()}
    words = [receiver_of(word) for word in re.findall(r"otlp\+\w+://\S+", text)]
    assert {r.transport: str(r.url.port) for r in words} == ports
    for pipeline in collector["service"]["pipelines"].values():
        for part, names in pipeline.items():
            assert set(names) <= set(collector[part])
    # By default 5 minutes: each load would begin its sums anew, and alerts would see no metric.
    kept = (
        collector["processors"]["deltatocumulative"]["max_stale"],
        collector["exporters"]["prometheus"]["metric_expiration"],
    )
    assert kept == ("240h", "240h")

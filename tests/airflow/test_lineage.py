from __future__ import annotations

import json

from tests.airflow.lab import Lab
from tests.airflow.shop import dag

LISTEN = """
    from airflow.providers.openlineage import conf
    from airflow.providers.openlineage.plugins.listener import get_openlineage_listener
    from airflow.sdk.listener import get_listener_manager
    for name in dir(conf):
        if hasattr(getattr(conf, name), "cache_clear"):
            getattr(conf, name).cache_clear()
    manager = get_listener_manager()
    listener = get_openlineage_listener()
    if on:
        manager.add_listener(listener)
    else:
        manager.pm.unregister(listener)
"""


def test_openlineage_hears_of_schema_columns_rules_and_rows(shop: Lab) -> None:
    path = shop.folder / "lineage.jsonl"
    transport = {"type": "file", "log_file_path": str(path), "append": True}
    shop.env["AIRFLOW__OPENLINEAGE__DISABLED"] = "False"
    shop.env["AIRFLOW__OPENLINEAGE__TRANSPORT"] = json.dumps(transport)
    text = (shop.folder / "shop.yml").read_text().rstrip().removesuffix("}")
    low = "{rule: range, column: cents, min: 10, action: warn}"
    rules = f"quality: [{{rule: not_null, column: id}}, {low}]"
    shop.write("shop.yml", f"{text}, {rules}, transform: [{{rename: {{amount: cents}}}}]}}\n")
    shop.write("dag.py", dag("lineage"))
    shop.call(LISTEN, on=True)
    try:
        run = shop.once("dag.py")
    finally:
        shop.call(LISTEN, on=False)
    assert run.state == "success", run.log
    events = [json.loads(line) for line in path.read_text().splitlines()]
    (done,) = [e for e in events if e["eventType"] == "COMPLETE" and e["outputs"]]
    (target,), (source,) = done["outputs"], done["inputs"]
    assert target["name"].endswith("raw.orders")
    fields = {f["name"]: f["type"] for f in target["facets"]["schema"]["fields"]}
    assert fields["cents"] == "BIGINT"
    origin = target["facets"]["columnLineage"]["fields"]["cents"]["inputFields"]
    assert [o["field"] for o in origin] == ["amount"]
    assert target["outputFacets"]["outputStatistics"]["rowCount"] == 50
    assert source["inputFacets"]["dataQualityMetrics"]["rowCount"] == 50
    found = source["inputFacets"]["dataQualityAssertions"]["assertions"]
    assert [(a["success"], a["severity"]) for a in found] == [(True, "error"), (False, "warn")]

from __future__ import annotations

from tests.airflow.lab import Airflow, Lab


def test_airflow_knows_the_provider(airflow: Airflow, lab: Lab) -> None:
    """Its connection type with the form, its decorator, links and settings."""
    found = lab.call(
        """
        from airflow.providers_manager import ProvidersManager
        from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime
        manager = ProvidersManager()
        name = "airflow-provider-conduit"
        info = manager.providers[name]
        result = {
            "version": info.version,
            "hook": manager.hooks["conduit"].hook_class_name,
            "hidden": manager.field_behaviours["conduit"]["hidden_fields"],
            "fields": sorted(f for f in manager.connection_form_widgets if "conduit" in f),
            "links": sorted(n for n in manager.extra_links_class_names if "conduit" in n),
            "decorators": "conduit" in ProvidersManagerTaskRuntime().taskflow_decorators,
            "settings": "conduit" in dict(manager.provider_configs).get(name, {}),
        }
        """
    )
    assert found["version"] == "0.1.0"
    assert found["hook"] == "airflow_provider_conduit.hook.ConduitHook"
    assert "host" in found["hidden"]
    assert found["fields"] == [f"extra__conduit__{n}" for n in ("path", "type", "url")]
    names = ("DbtDocsLink", "LoadReportLink")
    assert found["links"] == [f"airflow_provider_conduit.links.{n}" for n in names]
    assert found["decorators"]
    assert found["settings"]


TRY = """
    from airflow_provider_conduit.hook import ConduitHook
    result = ConduitHook("there").test_connection()
"""


def test_the_test_button_looks_at_the_connection(lab: Lab) -> None:
    lab.connection(
        "there", conn_type="conduit", extra={"type": "duckdb", "path": str(lab.folder / "x.duckdb")}
    )
    fine, told = lab.call(TRY)
    assert fine, told
    lab.connection(
        "there",
        conn_type="postgres",
        host="127.0.0.1",
        port=1,
        login="me",
        password="canary",
    )
    fine, told = lab.call(TRY)
    assert not fine
    assert "127.0.0.1" in told
    assert "canary" not in told


def test_a_wrong_connection_is_told(lab: Lab) -> None:
    lab.connection("there", conn_type="ftp", host="x")
    fine, told = lab.call(TRY)
    assert not fine
    assert "'ftp'" in told
    lab.connection("there", conn_type="conduit", extra={})
    fine, told = lab.call(TRY)
    assert not fine
    assert "its extra is empty" in told


def test_an_assets_uri_is_the_one_that_cosmos_derives(lab: Lab) -> None:
    """By Cosmos's own functions, of the profile that dbt has for the same database."""
    found = lab.call(
        """
        from airflow_provider_conduit.assets import asset_of
        from conduit_core import outline
        from cosmos.dataset import _ADAPTER_NAMESPACE_RESOLVERS as known
        from cosmos.dataset import construct_dataset_uri
        from airflow.sdk import Asset
        result = []
        for destination, kind, profile, database in cases:
            streams = [{"table": "orders", "into": "raw.orders"}]
            ours = asset_of(outline({"destination": destination, "streams": streams}), "orders")
            namespace = str(known[kind](profile))
            theirs = construct_dataset_uri(namespace, f"{database}.raw.orders")
            result.append([ours.name, ours.uri, Asset(uri=theirs).uri])
        """,
        cases=[
            ("postgres://u:p@db/shop", "postgres", {"host": "db", "port": 5432}, "shop"),
            ("duckdb:////data/wh.duckdb", "duckdb", {"path": "/data/wh.duckdb"}, "wh"),
        ],
    )
    assert [name for name, *_ in found] == ["raw.orders"] * 2
    assert [ours for _, ours, _ in found] == [theirs for *_, theirs in found]

"""What Airflow reads of a provider through the entry point ``apache_airflow_provider``."""

from __future__ import annotations

__version__ = "0.1.0"

_HOME = "airflow_provider_conduit"
_TEXT = {"type": ["string", "null"]}
FIELD_BEHAVIOUR: dict[str, object] = {
    "hidden-fields": ["host", "port", "schema"],
    "relabeling": {"login": "User"},
    "placeholders": {
        "login": "where the system has users",
        "password": "in place of one in the URL",
    },
}
"""Which of a connection's own fields the form of type ``conduit`` shows."""
_CONN_FIELDS = {
    "type": {
        "label": "Type",
        "description": "The connector: postgres, duckdb, sqlite, csv, json, jsonl, parquet.",
        "schema": _TEXT,
    },
    "url": {
        "label": "URL",
        "description": "postgres://user@host:5432/database; the password has its own field.",
        "schema": _TEXT,
    },
    "path": {
        "label": "Path",
        "description": "A database file, or a folder of files, as the workers see it.",
        "schema": _TEXT,
    },
}

_OPTIONS = {
    "report_url": {
        "description": "Where a load's report is kept; {load_id}, {pipeline}, {stream} are filled"
        " in. Default: the task's XCom page.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "https://reports.example.com/{pipeline}/{load_id}.html",
        "default": None,
    },
    "observe": {
        "description": "Who is told of loads: URLs of receivers of metrics, traces and lineage,"
        " with blanks between; or `connection:ID`, an Airflow connection with them in its password."
        " Default: those of the environment variable CONDUIT_OBSERVE.",
        "version_added": "0.1.0",
        "type": "string",
        "sensitive": True,
        "example": "otlp+http://collector:4318 dogstatsd://localhost:8125",
        "default": None,
    },
    "dbt_docs_url": {
        "description": "Where the site is that `dbt docs generate` made.",
        "version_added": "0.1.0",
        "type": "string",
        "example": "https://docs.example.com/dbt/",
        "default": None,
    },
}


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata: its connection type, its decorator, its links."""
    named = "Conduit"
    return {
        "package-name": "airflow-provider-conduit",
        "name": "Conduit Core",
        "description": "Exactly-once, Arrow-native loads into the database that dbt reads.",
        "versions": [__version__],
        "integrations": [{"integration-name": named, "tags": ["software"]}],
        "operators": [
            {
                "integration-name": named,
                "python-modules": [f"{_HOME}.{m}" for m in ("load", "steps", "dbt", "replay")],
            }
        ],
        "sensors": [{"integration-name": named, "python-modules": [f"{_HOME}.sensor"]}],
        "triggers": [{"integration-name": named, "python-modules": [f"{_HOME}.trigger"]}],
        "hooks": [{"integration-name": named, "python-modules": [f"{_HOME}.hook"]}],
        "extra-links": [f"{_HOME}.links.LoadReportLink", f"{_HOME}.links.DbtDocsLink"],
        "config": {
            "conduit": {
                "description": "Conduit's tasks: links, and who is told of loads.",
                "options": _OPTIONS,
            }
        },
        "task-decorators": [{"name": "conduit", "class-name": f"{_HOME}.decorator.conduit_task"}],
        "connection-types": [
            {
                "connection-type": "conduit",
                "hook-class-name": f"{_HOME}.hook.ConduitHook",
                "hook-name": named,
                "ui-field-behaviour": FIELD_BEHAVIOUR,
                "conn-fields": _CONN_FIELDS,
            }
        ],
    }

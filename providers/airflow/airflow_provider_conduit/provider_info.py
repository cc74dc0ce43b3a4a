"""What Airflow reads of a provider through the entry point ``apache_airflow_provider``."""

from __future__ import annotations

__version__ = "0.1.0"


def get_provider_info() -> dict[str, object]:
    """Return the provider's metadata: its connection type, its decorator, its links."""
    return {
        "package-name": "airflow-provider-conduit",
        "name": "Conduit Core",
        "description": "Exactly-once, Arrow-native loads into the database that dbt reads.",
        "versions": [__version__],
    }

"""Conduit Core in Airflow: the provider's metadata; its operators come with a later release."""

from __future__ import annotations

__all__ = ["__version__", "get_provider_info"]

__version__ = "0.1.0"


def get_provider_info() -> dict[str, str | list[str]]:
    """Return the metadata that Airflow reads through ``apache_airflow_provider``."""
    return {
        "package-name": "airflow-provider-conduit",
        "name": "Conduit Core",
        "description": "Exactly-once, Arrow-native loads into the database that dbt reads.",
        "versions": [__version__],
    }

"""Blocks that people have already, as the named connections of a pipeline; the real packages."""

from __future__ import annotations

import socket
import traceback
from typing import Any
from urllib.parse import urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from prefect.blocks.notifications import SlackWebhook
from prefect.blocks.system import Secret
from prefect.client.orchestration import get_client
from prefect.client.schemas.actions import BlockDocumentUpdate
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect_aws import AwsCredentials, MinIOCredentials
from prefect_gcp import GcpCredentials
from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector, SyncDriver

from conduit_core import Pipeline, run
from conduit_core.connectors.postgres.options import PostgresOptions
from conduit_core.errors import ConduitError, ConfigError, ConnectionFailedError
from prefect_conduit import ConduitConnection
from prefect_conduit.connections import PrefectConnections
from tests.objects.conftest import BUCKET, gcs_server, s3_server
from tests.prefect.shop import Shop
from tests.services import sql

__all__ = ["gcs_server", "s3_server"]
CANARY = "hunter2/canary@%"


def saved(block: Any, name: str) -> str:
    """Save a block; return what a pipeline calls it."""
    block.save(name)
    return f"{block.get_block_type_slug()}/{name}"


def loaded(shop: Shop, source: dict[str, Any], destination: dict[str, Any]) -> None:
    """Load the shop's orders by the core, with Prefect's blocks as connections."""
    made = Pipeline.from_mapping(
        {
            "name": shop.name,
            "source": source,
            "destination": destination,
            "streams": ["orders"],
        },
        shop.folder,
        connections=PrefectConnections(),
    )
    done(made)


def done(made: Pipeline) -> None:
    """Run a pipeline, or raise what its stream failed by."""
    for failure in run(made).failures:
        raise failure.to_error()


def test_sqlalchemy_and_secret_blocks_reach_their_databases(
    shop: Shop, postgres_database: str
) -> None:
    parts = urlsplit(postgres_database)
    query = dict(pair.split("=", 1) for pair in parts.query.split("&") if pair)
    connector = SqlAlchemyConnector(
        connection_info=ConnectionComponents(
            driver=SyncDriver.POSTGRESQL_PSYCOPG2,
            username=parts.username,
            password=parts.password,
            host=parts.hostname,
            port=parts.port,
            database=parts.path[1:],
            query=query or None,
        ),
        connect_args={"application_name": "shop"},
    )
    sqlite = SqlAlchemyConnector(connection_info=f"sqlite:///{shop.folder}/shop.db")
    to = {"connection": saved(connector, shop.name), "schema": shop.schema}
    loaded(shop, {"connection": saved(sqlite, f"{shop.name}-lite")}, to)
    assert sql(postgres_database, f"SELECT count(*) FROM {shop.schema}.orders") == [(5,)]
    secret = saved(Secret(value={"url": postgres_database, "schema": "other"}), shop.name)
    loaded(shop, {"type": "sqlite", "path": "shop.db"}, {"connection": secret})
    assert sql(postgres_database, "SELECT count(*) FROM other.orders") == [(5,)]


@pytest.mark.parametrize(
    "info",
    [
        {"driver": "postgresql+psycopg2", "username": "m@e", "password": CANARY, "host": "db"},
        "postgresql+psycopg2://m%40e:hunter2%2Fcanary%40%25@db/shop?sslmode=require",
    ],
)
def test_a_login_of_a_connector_survives(info: Any, shop: Shop) -> None:
    if isinstance(info, dict):
        more = {"database": "shop", "query": {"sslmode": "require"}}
        info = ConnectionComponents(**info, **more)
    name = saved(SqlAlchemyConnector(connection_info=info), shop.name)
    spec = PrefectConnections().resolve(name)
    options = PostgresOptions.model_validate(spec.reveal())
    assert CANARY in options.secrets()
    assert options.place() == ("db:5432", "shop")
    assert "sslmode=require" in options.conninfo()
    assert CANARY not in f"{spec!r}{spec.options}"


def test_a_secret_is_a_url_or_a_mapping(shop: Shop) -> None:
    for value in ("sqlite:///a.db", {"url": "sqlite:///a.db"}, '{"type":"sqlite","path":"a.db"}'):
        name = saved(Secret(value=value), f"{shop.name}-{len(value)}")
        spec = PrefectConnections().resolve(name)
        assert (spec.type, spec.reveal()) == ("sqlite", {"path": "a.db"})


def test_aws_blocks_open_a_bucket(shop: Shop, s3_server: str) -> None:
    client = {"endpoint_url": s3_server}
    aws = AwsCredentials(
        aws_access_key_id="KEY",
        aws_secret_access_key=CANARY,  # type: ignore[arg-type]
        region_name="us-east-1",
        aws_client_parameters=client,  # type: ignore[arg-type]
    )
    minio = MinIOCredentials(
        minio_root_user="KEY",
        minio_root_password=CANARY,  # type: ignore[arg-type]
        region_name="us-east-1",
        aws_client_parameters=client,  # type: ignore[arg-type]
    )
    _through_a_bucket(shop, "s3", saved(aws, shop.name), saved(minio, shop.name))


def test_gcp_blocks_open_a_bucket(shop: Shop, gcs_server: str) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    info = {
        "type": "service_account",
        "project_id": "p",
        "private_key_id": "1",
        "private_key": key.decode(),
        "client_email": "conduit@example.com",
        "token_uri": "http://127.0.0.1:1/token",
        "gcs_base_url": gcs_server,
        "disable_oauth": True,
    }
    name = saved(GcpCredentials(service_account_info=info), shop.name)  # type: ignore[arg-type]
    _through_a_bucket(shop, "gs", name, name)


def _through_a_bucket(shop: Shop, scheme: str, into: str, out: str) -> None:
    """Load a table into files of a bucket, and those into a database, each by a block."""
    place = f"{scheme}://{BUCKET}/{shop.schema}"
    there = {"connection": into, "type": "csv", "path": place}
    loaded(shop, {"type": "sqlite", "path": "shop.db"}, there)
    back = Pipeline.from_mapping(
        {
            "name": f"{shop.name}-back",
            "source": {"connection": out, "type": "csv", "path": place},
            "destination": {"type": "duckdb", "path": "wh.duckdb", "schema": shop.schema},
            "streams": [{"path": "orders/*.csv", "name": "orders"}],
        },
        shop.folder,
        connections=PrefectConnections(),
    )
    done(back)
    assert shop.count() == 5
    spec = back.connected().source
    assert "KEY" not in f"{spec!r}{spec.options}{back!r}"
    assert CANARY not in f"{spec!r}{spec.options}{back!r}"


def told(name: str, kind: type[ConduitError] = ConfigError) -> str:
    with pytest.raises(kind) as caught:
        PrefectConnections().resolve(name)
    assert caught.value.command
    assert CANARY not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def test_a_block_that_is_not_there_says_what_to_do(shop: Shop) -> None:
    text = told(f"{shop.name}_NOPE".replace("-", "_"))
    assert f"Prefect has no block conduit-connection/{shop.name}-nope: make it" in text
    assert "save('" in text
    assert "small letters" in told("a b")
    assert "did you mean aws-credentials/lake" in told("aws-credential/lake")
    saved(SlackWebhook(url=CANARY), shop.name)  # type: ignore[arg-type]
    assert "says nothing to a connector" in told(f"slack-webhook/{shop.name}")


def test_a_block_type_that_is_not_registered_says_how_to(shop: Shop) -> None:
    saved(MinIOCredentials(minio_root_user="a", minio_root_password="b"), shop.name)  # type: ignore[arg-type]
    with get_client(sync_client=True) as client:
        found = client.read_block_type_by_slug("minio-credentials")
        client.delete_block_type(found.id)
    text = told("minio-credentials/lake")
    assert "doesn't know the type minio-credentials yet" in text
    assert "prefect block register -m prefect_aws" in text


@pytest.mark.parametrize(
    ("block", "text"),
    [
        (Secret(value=f"mysql://u:{CANARY}@h/x"), "`url` names no known type"),
        (Secret(value=[CANARY]), "neither a URL nor a mapping"),
        (Secret(value={"connection": CANARY}), "can't name another one"),
        (SqlAlchemyConnector(connection_info="mysql+pymysql://u:p@h/x"), "mysql+pymysql"),
        (SqlAlchemyConnector(connection_info="sqlite:///x?mode=ro"), "for PostgreSQL only"),
        (AwsCredentials(), "it holds no keys"),
        (AwsCredentials(profile_name="me"), "a profile can't be taken"),
    ],
    ids=lambda value: value[:12] if isinstance(value, str) else "",
)
def test_a_block_that_says_nothing_usable_is_told(block: Any, text: str, shop: Shop) -> None:
    assert text in told(saved(block, shop.name))


def test_a_connection_that_was_written_by_hand_is_checked(shop: Shop) -> None:
    document = ConduitConnection(url="sqlite:///a.db").save(shop.name)  # type: ignore[arg-type]
    with get_client(sync_client=True) as client:
        wrong = BlockDocumentUpdate(data={"host": CANARY}, merge_existing_data=False)
        client.update_block_document(document, wrong)
    assert "`type` is missing" in told(shop.name)


def test_a_prefect_out_of_reach_is_no_missing_block() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}/api"
    with temporary_settings({PREFECT_API_URL: url, PREFECT_CLIENT_MAX_RETRIES: 0}):
        text = told("shop", ConnectionFailedError)
    assert "Prefect can't be asked for the block conduit-connection/shop" in text
    assert "retry" in text

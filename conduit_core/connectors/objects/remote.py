"""Objects of a bucket: S3, GCS and Azure through obstore. Secrets stay inside its client."""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, BinaryIO, NoReturn, cast
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from conduit_core.connectors.objects.base import Entry, ObjectStore, checked
from conduit_core.connectors.registry import missing_driver
from conduit_core.errors import ConduitError, ConfigError, ConnectionFailedError

if TYPE_CHECKING:
    import obstore
    from obstore.store import AzureStore, GCSStore, S3Store

EXTRA = "objects"
_PART_BYTES = 8 * 1024 * 1024
_PARTS_AT_ONCE = 2
"""A writer holds at most these parts and the one it fills; S3 takes 10,000 parts: 80 GB."""
_BUFFER = 4 * 1024 * 1024
"""What one request reads at least, for its latency."""
_RETRY_SECONDS = 60
_METADATA_SERVER = "169.254.169.254"
"""Asked for credentials where neither options nor environment have any."""
_ENDPOINTS = {
    "s3": ("endpoint", ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")),
    "gs": ("base_url", ("GOOGLE_BASE_URL",)),
    "az": ("endpoint", ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT")),
}
"""By kind: the option that moves the client to another server, and the environment's names."""
_ACCOUNTS = ("AZURE_STORAGE_ACCOUNT_NAME",)


class RemoteStore(ObjectStore):
    """A folder of a bucket.

    Args:
        url: ``scheme://bucket/folder?option=value``.
        options: more options of the client; they win over the URL's.
    """

    def __init__(self, url: str, options: Mapping[str, str]) -> None:
        try:
            import obstore
        except ImportError as error:
            raise missing_driver("objects", EXTRA, error) from error
        self._obstore = obstore
        parts = urlsplit(url)
        kind, bucket, given = _read(parts)
        config = {**given, **dict(parse_qsl(parts.query)), **options}
        prefix = unquote(parts.path).strip("/")
        option, variables = _ENDPOINTS[kind]
        endpoint = config.get(option) or next(
            (os.environ[name] for name in variables if os.environ.get(name)), ""
        )
        self.identity = _identity(kind, bucket, prefix, config, endpoint)
        self._client = self._connect(kind, bucket, prefix, config, endpoint)

    def _connect(
        self, kind: str, bucket: str, prefix: str, config: dict[str, str], endpoint: str
    ) -> S3Store | GCSStore | AzureStore:
        from obstore import store as stores
        from obstore.exceptions import BaseError, UnknownConfigurationKeyError

        allow_http = config.pop("allow_http", "").lower() in {"true", "1", "yes"}
        makers: dict[str, type[S3Store | GCSStore | AzureStore]] = {
            "s3": stores.S3Store,
            "gs": stores.GCSStore,
            "az": stores.AzureStore,
        }
        if endpoint:
            config[_ENDPOINTS[kind][0]] = endpoint
        try:
            return makers[kind](
                bucket,
                prefix=prefix or None,
                config=config,  # type: ignore[arg-type] # keys are checked by obstore, below
                client_options={"allow_http": allow_http or endpoint.startswith("http://")},
                retry_config={
                    "max_retries": 5,
                    "retry_timeout": timedelta(seconds=_RETRY_SECONDS),
                },
            )
        except UnknownConfigurationKeyError:
            raise ConfigError(
                f"{self.identity}: an option that its client doesn't know, "
                f"one of {', '.join(sorted(config))}"
            ) from None
        except (BaseError, ValueError, TypeError):
            # Its message may hold the option's value.
            raise ConfigError(
                f"{self.identity}: its client doesn't take these options: "
                f"{', '.join(sorted(config)) or 'none, and the environment has none either'}"
            ) from None

    def put(self, path: str, data: bytes, *, create: bool = False) -> bool:
        """See :meth:`ObjectStore.put`."""
        from obstore.exceptions import AlreadyExistsError

        with self._told("write", path):
            try:
                self._obstore.put(
                    self._client,
                    checked(path),
                    data,
                    mode="create" if create else "overwrite",
                    use_multipart=False,
                )
            except AlreadyExistsError:
                return False
        return True

    def get(self, path: str) -> bytes | None:
        """See :meth:`ObjectStore.get`."""
        with self._told("read", path):
            try:
                return bytes(self._obstore.get(self._client, checked(path)).bytes())
            except FileNotFoundError as error:
                if _says_no_bucket(error):
                    _alone(self._no_bucket())
                return None

    def entries(self, prefix: str = "") -> list[Entry]:
        """See :meth:`ObjectStore.entries`."""
        with self._told("list", prefix):
            found = [
                Entry(item["path"], item["size"], item["last_modified"])
                for part in self._obstore.list(self._client, prefix.rstrip("/") or None)
                for item in part
            ]
        return sorted(found, key=lambda entry: entry.path)

    def entry(self, path: str) -> Entry | None:
        """Return an object's size and time; None where there is none."""
        with self._told("look at", path):
            try:
                item = self._obstore.head(self._client, checked(path))
            except FileNotFoundError as error:
                if _says_no_bucket(error):
                    _alone(self._no_bucket())
                return None
        return Entry(item["path"], item["size"], item["last_modified"])

    def holds(self, prefix: str) -> bool:
        """Say whether there is an object below a folder."""
        with self._told("list", prefix):
            return any(
                part for part in self._obstore.list(self._client, prefix, chunk_size=1) if part
            )

    def delete(self, paths: Iterable[str]) -> None:
        """See :meth:`ObjectStore.delete`."""
        waiting = [checked(path) for path in paths]
        with self._told("delete", waiting[0] if waiting else ""):
            if not waiting:
                return
            try:
                self._obstore.delete(self._client, waiting)
                return
            except FileNotFoundError as error:
                if _says_no_bucket(error):
                    _alone(self._no_bucket())
            for path in waiting:  # Azure and GCS stop at the first that isn't there
                try:
                    self._obstore.delete(self._client, path)
                except FileNotFoundError:
                    continue

    @contextmanager
    def writer(self, path: str) -> Iterator[BinaryIO]:
        """See :meth:`ObjectStore.writer`."""
        with self._told("write", path):
            upload = self._obstore.open_writer(
                self._client, checked(path), buffer_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE
            )
        try:
            yield cast("BinaryIO", _Upload(self, path, upload))
        except BaseException as error:
            with suppress(ConduitError), self._told("write", path):
                upload.__exit__(type(error), error, error.__traceback__)  # aborts what is there
            raise
        with self._told("write", path):
            upload.close()

    def reader(self, path: str) -> BinaryIO:
        """See :meth:`ObjectStore.reader`."""
        with self._told("read", path):
            size = self._obstore.head(self._client, checked(path))["size"]
        return io.BufferedReader(_Ranges(self, path, size), _BUFFER)

    def range(self, path: str, start: int, end: int) -> memoryview:
        """Return the bytes from ``start`` to before ``end``."""
        with self._told("read", path):
            return memoryview(self._obstore.get_range(self._client, path, start=start, end=end))

    def _no_bucket(self) -> ConfigError:
        return ConfigError(f"{self.identity}: there is no such bucket; make it first")

    @contextmanager
    def _told(self, doing: str, path: str) -> Iterator[None]:
        """Turn what the bucket refuses into an error that says what to do, without its secrets."""
        from obstore.exceptions import BaseError

        place = f"{self.identity}: can't {doing} {path or 'it'}"
        try:
            yield
        except FileNotFoundError as error:
            if doing == "read" and not _says_no_bucket(error):
                _alone(FileNotFoundError(f"{self.identity}: no object {path!r}"))
            _alone(self._no_bucket())
        except (BaseError, OSError) as error:  # an upload's errors are OSErrors with the same text
            if _says_no_bucket(error):
                _alone(self._no_bucket())
            why, is_refused = _reason(error)
            if is_refused:
                refused = ConnectionFailedError(
                    f"{place}: refused ({why}); the credentials come from the environment or the"
                    " URL's options and need the right to list, read, write and delete there",
                    retry="never",
                )
                _alone(refused)
            _alone(ConnectionFailedError(f"{place}: {why}"))


class _Upload(io.RawIOBase):
    """What a writer's block writes to; closing it ends nothing, the block's end does."""

    def __init__(self, store: RemoteStore, path: str, upload: obstore.WritableFile) -> None:
        super().__init__()
        self._store, self._path, self._upload = store, path, upload
        self._position = 0

    def writable(self) -> bool:
        """Whether it takes data: yes."""
        return True

    def tell(self) -> int:
        """Return how many bytes were written."""
        return self._position

    def write(self, data: object, /) -> int:
        """Take all of ``data``; waits while two parts are on their way."""
        with self._store._told("write", self._path):  # noqa: SLF001 - the same module
            # A copy: obstore keeps what it is given until the part is sent, and pyarrow writes
            # its next rows into the same buffer.
            copied = bytes(data)  # type: ignore[call-overload]
            self._upload.write(copied)
        self._position += len(copied)
        return len(copied)


class _Ranges(io.RawIOBase):
    """An object, read by ranges; a buffer above it makes small reads cheap."""

    def __init__(self, store: RemoteStore, path: str, size: int) -> None:
        super().__init__()
        self._store, self._path, self._size = store, path, size
        self._position = 0

    def readable(self) -> bool:
        """Whether it can be read: yes."""
        return True

    def seekable(self) -> bool:
        """Whether it has random access: yes."""
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        """Move; nothing is read."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._size}[whence]
        self._position = max(base + offset, 0)
        return self._position

    def tell(self) -> int:
        """Return the position."""
        return self._position

    def readinto(self, buffer: object, /) -> int:
        """Fill the buffer by one request."""
        view = memoryview(buffer).cast("B")  # type: ignore[arg-type]
        end = min(self._position + view.nbytes, self._size)
        count = max(end - self._position, 0)
        if count:
            view[:count] = self._store.range(self._path, self._position, end)
            self._position = end
        return count


def _read(parts: SplitResult) -> tuple[str, str, dict[str, str]]:
    """Return the kind of store, its bucket, and the options that stand in the URL's host part."""
    kind = {"abfs": "az", "abfss": "az"}.get(parts.scheme, parts.scheme)
    user, at, host = parts.netloc.rpartition("@")
    if not host:
        raise ConfigError(f"{parts.scheme}:// needs a bucket: {parts.scheme}://bucket/folder")
    if not at:
        return kind, host, {}
    if kind == "az" and parts.scheme != "az":
        return kind, unquote(user), {"account_name": host.split(".")[0]}
    name, _, secret = user.partition(":")
    if kind == "s3" and secret:
        given = {"access_key_id": unquote(name), "secret_access_key": unquote(secret)}
        return kind, host, given
    raise ConfigError(
        f"{parts.scheme}://...@{host}: credentials don't belong in this URL; set them in the "
        "environment or as options of the connection"
    )


def _identity(kind: str, bucket: str, prefix: str, config: Mapping[str, str], endpoint: str) -> str:
    where = f"{kind}://{bucket}/{prefix}".rstrip("/")
    server = urlsplit(endpoint).netloc.rpartition("@")[2] if endpoint else ""
    if kind == "az" and not server:
        server = config.get("account_name") or next(
            (os.environ[name] for name in _ACCOUNTS if os.environ.get(name)), ""
        )
    return f"{where} at {server}" if server else where


def _reason(error: Exception) -> tuple[str, bool]:
    """Return why, and whether we are refused: known words only.

    The rest of a message may be a signed URL or a whole answer.
    """
    text = str(error)
    if _METADATA_SERVER in text:
        return "no credentials, and no machine that has some", True
    status = re.search(r"status code: (\d{3}(?: [A-Z][\w-]*)*)", text)
    code = re.search(r"<Code>(\w+)</Code>", text)
    found = [m.group(1) for m in (status, code) if m]
    if not found:
        known = ("connection refused", "dns error", "timed out", "certificate", "token request")
        found = [words for words in known if words in text.lower()]
    why = ", ".join(found) or f"{type(error).__name__}, no answer that could be understood"
    return why, why.startswith(("401", "403"))


def _says_no_bucket(error: Exception) -> bool:
    return "NoSuchBucket" in str(error) or "ContainerNotFound" in str(error)


def _alone(error: Exception) -> NoReturn:
    """Raise an error without what was being handled, which may hold secrets.

    ``from None`` only hides it: who pickles errors whole (tblib, in Dask's workers) takes it along.
    """
    try:
        raise error from None
    except type(error):
        error.__context__ = None
        raise

"""A remote folder in a bucket, by obstore: Amazon S3 and what speaks its protocol, Google Cloud Storage, Azure.

Credentials and endpoints come from the variables of the providers' own tools (``AWS_ACCESS_KEY_ID``,
``AWS_ENDPOINT_URL``, ``GOOGLE_SERVICE_ACCOUNT``, ``AZURE_STORAGE_ACCOUNT_NAME`` …), or from the machine's role.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, BinaryIO, Final, cast

from engine.logs.remote import LogFile, Reason, RemoteError

_PART_BYTES: Final = 8 << 20
_PARTS_AT_ONCE: Final = 2  # 16 MiB in memory
_CONNECT_SECONDS: Final = 5.0
# Whom the library asks for the machine's role where the environment has no credentials.
_ROLE_HOSTS: Final = ("169.254.169.254", "169.254.170.2", "metadata.google.internal", "metadata")
_NO_CREDENTIALS: Final = (
    "there are no credentials: set the provider's variables, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
    "where windsock is started; this machine has no role that would do"
)
_Errors = tuple[type[Exception], ...]


class BucketFolder:
    """One prefix of one bucket. The bucket checks the SHA-256 of each part where it speaks S3; the size is asked for
    afterwards."""

    def __init__(self, url: str, timeout_seconds: float, *, encrypt: bool = False) -> None:
        import obstore  # here, since only who uses a bucket should pay for it
        from obstore.store import from_url

        errors = obstore.exceptions
        self._refusals: _Errors = (PermissionError, errors.PermissionDeniedError, errors.UnauthenticatedError)
        self._failures: _Errors = (OSError, ValueError, errors.BaseError)
        self._obstore = obstore
        self._url = url
        config: dict[str, Any] = {}
        if url.startswith("s3://"):
            config["aws_checksum_algorithm"] = "SHA256"
            if encrypt:
                config["aws_server_side_encryption"] = "AES256"
        with self._told():
            self._store = from_url(
                url,
                config=cast(Any, config),
                client_options={
                    "timeout": f"{timeout_seconds:g}s",
                    "connect_timeout": f"{min(timeout_seconds, _CONNECT_SECONDS):g}s",
                    "allow_http": _endpoint_is_plain(),
                },
                retry_config={"max_retries": 2, "retry_timeout": timedelta(seconds=timeout_seconds)},
            )

    def upload(self, path: str, file: BinaryIO, size: int) -> None:
        file.seek(0)
        with self._told():
            source = cast(Any, _First(file, size))
            self._obstore.put(self._store, path, source, chunk_size=_PART_BYTES, max_concurrency=_PARTS_AT_ONCE)
        if (found := self.size(path)) != size:
            raise RemoteError(Reason.DAMAGED, f"{self._url}/{path} has {found} bytes and not the {size} sent")

    def size(self, path: str) -> int | None:
        try:
            with self._told():
                size: int = self._obstore.head(self._store, path)["size"]
        except FileNotFoundError:
            return None
        return size

    def open(self, path: str) -> LogFile | None:
        try:
            with self._told():
                about = self._obstore.head(self._store, path)
        except FileNotFoundError:
            return None
        size = about["size"]
        file = _Object(self, path, size)
        return LogFile(cast(BinaryIO, file), size, (self._url, path, about["e_tag"], size))

    def read(self, path: str, start: int, end: int) -> bytes:
        """Bytes `start` to `end`, which must not be nothing. Raises RemoteError."""
        try:
            with self._told():
                return bytes(self._obstore.get_range(self._store, path, start=start, end=end))
        except FileNotFoundError as error:
            raise RemoteError(Reason.MISSING, f"{self._url}/{path} was removed meanwhile") from error

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Errors of the bucket as ours; that there is no such object stays FileNotFoundError."""
        try:
            yield
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise RemoteError(Reason.UNREACHABLE, f"{self._url}: there is no such bucket") from error
            raise
        except self._refusals as error:
            raise RemoteError(Reason.REFUSED, f"{self._url}: {_first_line(error)}") from error
        except self._failures as error:
            raise RemoteError(Reason.UNREACHABLE, f"{self._url}: {_first_line(error)}") from error


class _First(io.RawIOBase):
    """The first bytes of a file that may be growing."""

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file = file
        self._size = size
        self._left = size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._size - self._left, os.SEEK_END: self._size}[whence]
        place = base + offset
        self._left = self._size - place
        return self._file.seek(place)

    def tell(self) -> int:
        return self._size - self._left

    def read(self, size: int = -1) -> bytes:
        block = self._file.read(self._left if size < 0 else min(size, self._left))
        self._left -= len(block)
        return block


class _Object(io.RawIOBase):
    """An object as a file; each read is a request with a time limit of its own."""

    def __init__(self, folder: BucketFolder, path: str, size: int) -> None:
        self._folder = folder
        self._path = path
        self._size = size
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._place, os.SEEK_END: self._size}[whence]
        self._place = base + offset
        return self._place

    def read(self, size: int = -1) -> bytes:
        end = self._size if size < 0 else min(self._size, self._place + size)
        if end <= self._place:
            return b""
        data = self._folder.read(self._path, self._place, end)
        self._place += len(data)
        return data


def _endpoint_is_plain() -> bool:
    names = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT", "AZURE_STORAGE_ENDPOINT")
    return any(os.environ.get(name, "").startswith("http://") for name in names)


def _first_line(error: BaseException) -> str:
    """Without the library's own innards, which follow on the next lines."""
    told = str(error).partition("\n")[0].strip().rstrip(":") or type(error).__name__
    return _NO_CREDENTIALS if any(f"//{host}/" in told for host in _ROLE_HOSTS) else told

"""A server that speaks S3's protocol: moto's, as a process of its own."""

from __future__ import annotations

import html
import re
import socket
import subprocess
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import httpx

from tests.servers.binaries import ROOT, missing
from tests.servers.processes import free_port, wait_until


class S3Server:
    """One bucket, ``logs``. Stopped and started again, it has forgotten everything; `make_bucket` then."""

    def __init__(self, output: Path) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._output = output
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        """What a client needs."""
        return {
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret-of-the-bucket",
            "AWS_REGION": "us-east-1",
            "AWS_ENDPOINT_URL": self.url,
        }

    def start(self) -> None:
        """Listen, with an empty bucket."""
        server = ROOT / ".tools" / "s3" / "bin" / "moto_server"
        if not server.exists():
            missing("moto_server")
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [server, "-H", "127.0.0.1", "-p", str(self.port)], stdout=output, stderr=output
            )
        wait_until(self._listens, "moto to listen", 30)
        self.make_bucket()

    def make_bucket(self) -> None:
        self._ask("PUT")

    def objects(self) -> dict[str, bytes]:
        """Every object by its key."""
        listing = self._ask("GET", "?list-type=2").text
        keys = [html.unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", listing)]
        return {key: self._ask("GET", f"/{quote(key)}").content for key in keys}

    def about(self, key: str) -> Mapping[str, str]:
        """What S3 tells of an object besides its bytes: its headers."""
        return self._ask("HEAD", f"/{quote(key)}").headers

    def _ask(self, method: str, where: str = "") -> httpx.Response:
        # moto does not check a signature, and shows private objects to nobody who has none.
        headers = {"Authorization": "AWS4-HMAC-SHA256 Credential=key/20260101/us-east-1/s3/aws4_request"}
        return httpx.request(method, f"{self.url}/logs{where}", headers=headers, timeout=30).raise_for_status()

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

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
        httpx.put(f"{self.url}/logs").raise_for_status()

    def objects(self) -> dict[str, bytes]:
        """Every object by its key."""
        listing = httpx.get(f"{self.url}/logs", params={"list-type": "2"}).raise_for_status().text
        keys = [html.unescape(key) for key in re.findall(r"<Key>(.*?)</Key>", listing)]
        return {key: httpx.get(self._address(key)).raise_for_status().content for key in keys}

    def about(self, key: str) -> Mapping[str, str]:
        """What S3 tells of an object besides its bytes: its headers."""
        return httpx.head(self._address(key)).raise_for_status().headers

    def _address(self, key: str) -> str:
        return f"{self.url}/logs/{quote(key)}"

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

"""A server that speaks S3's protocol: moto's, as a process of its own."""

from __future__ import annotations

import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import boto3

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
        server = str(Path(sys.executable).with_name("moto_server"))
        with self._output.open("ab") as output:
            self._process = subprocess.Popen(
                [server, "-H", "127.0.0.1", "-p", str(self.port)], stdout=output, stderr=output
            )
        wait_until(self._listens, "moto to listen", 30)
        self.make_bucket()

    def make_bucket(self) -> None:
        self._client().create_bucket(Bucket="logs")

    def objects(self) -> dict[str, bytes]:
        """Every object by its key, as the provider's own library reads it."""
        client = self._client()
        keys = [entry["Key"] for entry in client.list_objects_v2(Bucket="logs").get("Contents", ())]
        return {key: client.get_object(Bucket="logs", Key=key)["Body"].read() for key in keys}

    def about(self, key: str) -> dict[str, Any]:
        """What S3 tells of an object besides its bytes."""
        told: dict[str, Any] = self._client().head_object(Bucket="logs", Key=key)
        return told

    def stop(self) -> None:
        if self._process:
            self._process.terminate()
            self._process.wait(10)
            self._process = None

    def _listens(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def _client(self) -> Any:
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name=self.environment["AWS_REGION"],
            aws_access_key_id="key",
            aws_secret_access_key="secret-of-the-bucket",
        )

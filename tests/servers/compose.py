"""docker-compose.yml as data, and the program that reads it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, Final

import yaml

from tests.servers import binaries

ROOT: Final = binaries.ROOT
FILE: Final = ROOT / "docker-compose.yml"
EXAMPLE: Final = ROOT / ".env.example"
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?::([?-])([^}]*))?\}")


def compose() -> dict[str, Any]:
    """The file with its anchors resolved and its variables as they are written."""
    document: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return document


def services() -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = compose()["services"]
    return found


def variables() -> dict[str, str]:
    """Every variable that the file reads → ``?`` where it must be set, ``-`` where it has a default."""
    return {name: how for name, how, _ in _VARIABLE.findall(FILE.read_text(encoding="utf-8"))}


def example() -> dict[str, str]:
    """The assignments of .env.example."""
    lines = EXAMPLE.read_text(encoding="utf-8").splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled(text: str, values: dict[str, str]) -> str:
    """`text` with its variables filled in."""
    return _VARIABLE.sub(lambda found: values.get(found[1]) or (found[3] if found[2] == "-" else ""), text)


def compose_config() -> list[str]:
    """The command that reads a compose file and prints it as JSON: Docker's own, or the one that is built here.

    Both are the same loader, and refuse in the same words; the one built here is tests/servers/composeconfig/main.go.
    """
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose", "--env-file", "/dev/null", "--file", str(FILE), "config", "--format", "json"]
    return [str(binaries.require("composeconfig")), str(FILE)]


def copied_into_the_image() -> list[Path]:
    """What the Dockerfile copies from the checkout, relative to it."""
    text = (ROOT / "Dockerfile").read_text(encoding="utf-8")
    words = re.findall(r"^COPY (?!--from)(.+) \S+$", text, re.MULTILINE)
    return [Path(source) for line in words for source in line.split()]

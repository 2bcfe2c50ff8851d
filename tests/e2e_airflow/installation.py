"""Real Airflows from the package index, each in an environment of its own below .tools/, pinned by a file here."""

from __future__ import annotations

import hashlib
import subprocess
from dataclasses import dataclass
from pathlib import Path

from exporters.catalogue import Emitter
from tests.servers.binaries import ROOT, require

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Release:
    """One Airflow that is run."""

    name: str
    emitter: Emitter

    @property
    def pins(self) -> Path:
        return HERE / f"requirements-{self.name}.txt"

    @property
    def environment(self) -> Path:
        return ROOT / ".tools" / f"airflow-{self.name}"

    @property
    def command(self) -> Path:
        return self.environment / "bin" / "airflow"

    @property
    def is_2(self) -> bool:
        return self.emitter in Emitter.AIRFLOW_2

    def install(self) -> None:
        """Make the environment unless it has exactly these pins. Takes minutes the first time."""
        wanted = hashlib.sha256(self.pins.read_bytes()).hexdigest()
        mark = self.environment / ".pins"
        if mark.exists() and mark.read_text() == wanted:
            return
        python = self.environment / "bin" / "python"
        subprocess.run([require("python3.11"), "-m", "venv", "--clear", self.environment], check=True)
        pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "-r", self.pins], check=True)
        mark.write_text(wanted)


def install_notify() -> Path:
    """The folder with what ``alerting.notify`` needs and Airflow 3.3 has not."""
    pins = HERE / "requirements-notify.txt"
    wanted = hashlib.sha256(pins.read_bytes()).hexdigest()
    folder = ROOT / ".tools" / "airflow-notify"
    mark = folder / ".pins"
    if not mark.exists() or mark.read_text() != wanted:
        python = RELEASES["3.3"].environment / "bin" / "python"
        pip = [python, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*pip, "--upgrade", "--target", folder, "-r", pins], check=True)
        mark.write_text(wanted)
    return folder


RELEASES = {
    "2.11": Release("2.11", Emitter.AIRFLOW_2_11),
    "3.3": Release("3.3", Emitter.AIRFLOW_3_3),
}

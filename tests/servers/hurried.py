"""The Prometheus and the Alertmanager of a `Machine`, told to let time pass faster; and what they say then."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import time
import urllib.request
from collections.abc import Callable, Collection, Mapping
from datetime import timedelta
from typing import Any, Final, Protocol

import yaml

from prometheus.generate import rule_files
from prometheus.pace import Pace
from prometheus.rules_by_area import AREAS
from tests.servers.machine import Machine
from tests.servers.processes import wait_until
from tests.servers.prometheus import Prometheus

logger = logging.getLogger(__name__)

PACE: Final = Pace(faster=30, shortest_range=timedelta(seconds=4))
INTERVAL: Final = "1s"
ALWAYS: Final = {"WindsockWatchdog"}


class Alerts(Protocol):
    """Whoever can say which alerts fire."""

    def firing(self) -> set[str]:
        """Their names."""


class RulesOnly:
    """A Prometheus with these areas' hurried rules and nothing of a stack: for what is watched from outside."""

    def __init__(self, targets: Mapping[str, list[str]], areas: Collection[str], pace: Pace = PACE) -> None:
        rules = {name: text for name, text in rule_files(pace=pace).items() if name.removesuffix(".yml") in areas}
        self._prometheus = Prometheus(targets, rules)

    def start(self) -> None:
        self._prometheus.start()

    def stop(self) -> None:
        self._prometheus.stop()

    def answers(self, query: str) -> bool:
        return bool(self._prometheus.instant(query))

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return alerts(self._prometheus.port, "firing")


class Hurried:
    """Scrapes and evaluates every second, with hurried rules. What fires is asked of Prometheus itself."""

    def __init__(self, machine: Machine, pace: Pace = PACE) -> None:
        self.machine = machine
        machine.wait_for_monitoring()  # a signal that comes before would end it
        self.learn_pids()
        self._folder = machine.home / "run" / "prometheus"
        self._config = self._folder / "prometheus.yml"
        self._written = yaml.safe_load(self._config.read_text())
        # At this pace a few attempts look like those of an hour, so budgets are burned by a test of their own.
        self.use_rules(pace, AREAS.keys() - {"slo"})
        self.configure(lambda config: None)

    # -- what they are told

    def use_rules(self, pace: Pace, areas: Collection[str]) -> None:
        """Write the rules of these areas; `configure` makes them count."""
        folder = self._folder / "rules"
        for path in folder.iterdir():
            path.unlink()
        for name, text in rule_files(pace=pace).items():
            if name.removesuffix(".yml") in areas:
                (folder / name).write_text(text)

    def add_rules(self, name: str, text: str) -> None:
        (self._folder / "rules" / name).write_text(text)

    def remove_rules(self, name: str) -> None:
        (self._folder / "rules" / name).unlink()

    def configure(self, change: Callable[[dict[str, Any]], object]) -> None:
        """Load the stack's own configuration with short intervals and `change` made to it."""
        config = json.loads(json.dumps(self._written))
        config["global"] |= {"scrape_interval": INTERVAL, "scrape_timeout": INTERVAL, "evaluation_interval": INTERVAL}
        change(config)
        self._config.write_text(yaml.safe_dump(config))
        self.reload()

    def spoil(self) -> None:
        """Have Prometheus load what cannot be read."""
        self._config.write_text("scrape_configs: no list\n")
        self.signal("prometheus", signal.SIGHUP)

    def reload(self) -> None:
        before = self._last_reload()
        self.signal("prometheus", signal.SIGHUP)
        wait_until(lambda: self._last_reload() > before, "Prometheus to load its configuration")

    def configure_alertmanager(self, change: Callable[[dict[str, Any]], object]) -> None:
        path = self.machine.home / "run" / "alertmanager" / "alertmanager.yml"
        config = yaml.safe_load(path.read_text())
        change(config)
        path.write_text(yaml.safe_dump(config))
        self.signal("alertmanager", signal.SIGHUP)

    def learn_pids(self) -> None:
        """Ask anew: what was killed has another one."""
        self.pids = {name: row["pid"] for name, row in self.machine.status().items()}

    def signal(self, component: str, how: signal.Signals) -> None:
        os.kill(self.pids[component], how)

    def _last_reload(self) -> float:
        url = f"http://127.0.0.1:{self.machine.ports['WINDSOCK__PROMETHEUS__PORT']}/metrics"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = re.search(
                r"^prometheus_config_last_reload_success_timestamp_seconds (\S+)", answer.read().decode(), re.MULTILINE
            )
        return float(found[1]) if found else 0.0

    def settle(self) -> None:
        """Return once every target was scraped, heartbeats count, and nothing fires."""
        wait_until(lambda: self.machine.promql("sum(up)") == [4], "every target to be scraped", 60)
        beats = "rate(airflow_scheduler_heartbeat[4s]) > 0"
        wait_until(lambda: self.machine.promql(beats), "the scheduler's heartbeats", 60)
        wait_until(lambda: not alerts(self._port), "a quiet start, with no alert pending", 90)

    # -- what they say

    @property
    def _port(self) -> int:
        return self.machine.ports["WINDSOCK__PROMETHEUS__PORT"]

    def firing(self) -> set[str]:
        """The names of the alerts that fire."""
        return alerts(self._port, "firing")

    def muted(self) -> set[str]:
        """The names of the alerts that Alertmanager tells nobody of, because of others."""
        url = f"http://127.0.0.1:{self.machine.ports['WINDSOCK__PROMETHEUS__ALERTMANAGER_PORT']}/api/v2/alerts"
        with urllib.request.urlopen(url, timeout=30) as answer:
            found = json.load(answer)
        return {each["labels"]["alertname"] for each in found if each["status"]["inhibitedBy"]}


def alerts(port: int, *states: str) -> set[str]:
    """The names of the alerts that are in these states, or in any, in the Prometheus at this port."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/alerts", timeout=30) as answer:
        found = json.load(answer)["data"]["alerts"]
    return {alert["labels"]["alertname"] for alert in found if not states or alert["state"] in states} - ALWAYS


class Fault:
    """One fault from its begin to its repair: what must fire, what may, and after how many seconds it did."""

    def __init__(self, prometheus: Alerts, fires: Collection[str], also: Collection[str] = ()) -> None:
        self._prometheus = prometheus
        self._fires = set(fires)
        self._allowed = self._fires | set(also)
        self._began = time.monotonic()
        self.seconds: dict[str, float] = {}

    def fires(self, within: float) -> dict[str, float]:
        """Wait until all have fired; alert → seconds since this fault was made. Fails at once for any other alert."""

        def all_seen() -> bool:
            self._look()
            return self._fires <= self.seconds.keys()

        try:
            wait_until(all_seen, "alerts", within)
        except TimeoutError:
            missing = self._fires - self.seconds.keys()
            raise TimeoutError(f"in {within:g} s these did not fire: {missing}; these did: {self.seconds}") from None
        logger.info("fired after seconds: %s", self.seconds)
        return self.seconds

    def stays_away(self, seconds: float) -> None:
        """Look for so long; nothing may fire."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self._look()

    def resolves(self, within: float, but: Collection[str] = ()) -> float:
        """Wait until nothing fires any more, `but` what fires all the time; returns the seconds."""
        began = time.monotonic()
        try:
            wait_until(lambda: not self._look() - set(but), "alerts to resolve", within)
        except TimeoutError:
            raise TimeoutError(f"in {within:g} s these did not resolve: {self._look()}") from None
        logger.info("resolved after seconds: %.1f", time.monotonic() - began)
        return time.monotonic() - began

    def _look(self) -> set[str]:
        firing = self._prometheus.firing()
        now = time.monotonic() - self._began
        for name in firing - self.seconds.keys():
            self.seconds[name] = round(now, 1)
        assert firing <= self._allowed, f"these are not on the list: {firing - self._allowed}"
        time.sleep(0.1)
        return firing

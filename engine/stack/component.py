"""What the stack consists of: frozen records, written as JSON to the supervisor and to ``run/stack.json``."""

from __future__ import annotations

from typing import Literal

import msgspec


class Http(msgspec.Struct, frozen=True, tag="http"):
    """Healthy when GET `url` answers with a status below 400."""

    url: str


class Tcp(msgspec.Struct, frozen=True, tag="tcp"):
    """Healthy when somebody accepts connections at host:port."""

    host: str
    port: int


class Udp(msgspec.Struct, frozen=True, tag="udp"):
    """Healthy when host:port is bound: UDP does not answer, so its place being taken is what can be seen."""

    host: str
    port: int


class Heartbeat(msgspec.Struct, frozen=True, tag="heartbeat"):
    """Healthy when the metastore holds a fresh heartbeat of this kind of process, from this very process.

    One that is older than ``late_after_seconds`` is told before it is too old.
    """

    kind: str
    stale_after_seconds: float = 30.0
    late_after_seconds: float = 10.0


class Alive(msgspec.Struct, frozen=True, tag="alive"):
    """Healthy as long as the process runs."""


Check = Http | Tcp | Udp | Heartbeat | Alive


class Port(msgspec.Struct, frozen=True):
    """An address a component listens at, and the environment variables that move it."""

    number: int
    settings: tuple[str, ...]
    host: str = "127.0.0.1"
    protocol: Literal["tcp", "udp"] = "tcp"
    host_setting: str = ""


class Component(msgspec.Struct, frozen=True, kw_only=True):
    """One process of the stack.

    ``env`` is added to the supervisor's own environment; it is stored in ``run/stack.json``, so it holds no secrets.
    ``why`` says what is missing without it, ``next_step`` what a person may try with it.
    ``words`` are those of the ``windsock`` command, for a component that is one: it may be forked instead of started.
    ``argv`` is empty where the program is not installed; then ``remedy`` says how to get it.
    """

    name: str
    argv: tuple[str, ...]
    words: tuple[str, ...] = ()
    address: str = ""
    checks: tuple[Check, ...] = (Alive(),)
    ports: tuple[Port, ...] = ()
    env: dict[str, str] = {}
    core: bool = True
    why: str = ""
    next_step: str = ""
    remedy: str = ""
    blocked_by: str = ""  # who holds its port; such a component is not started
    stop_grace_seconds: float = 10.0  # between TERM and KILL

    @property
    def is_installed(self) -> bool:
        return bool(self.argv)


class Watched(msgspec.Struct, frozen=True, kw_only=True):
    """A file of which a component's configuration is made.

    When it changes, ``argv`` is run with the component's process id and start mark (0 and "" while it does not run).
    ``seen`` is the file's stamp (engine.stack.watching) before the configuration was made of it.
    """

    path: str
    component: str
    argv: tuple[str, ...]
    env: dict[str, str] = {}
    seen: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What the supervisor is told: components in the order of their start, stopped in the reverse order."""

    home: str
    logs: str
    components: tuple[Component, ...]
    foreground: bool = False  # repeat what happens on stderr, and end with the process that started us
    settings: str = ""  # their fingerprint
    watched: tuple[Watched, ...] = ()
    imports: tuple[str, ...] = ()  # modules that the settings call for in most components
    backoff_seconds: float = 0.5  # before the first restart; doubles up to max_backoff_seconds
    max_backoff_seconds: float = 30.0
    stable_after_seconds: float = 60.0  # having run this long, a component starts again from backoff_seconds

"""Settings told to people: the list with values and origins, and the reference page."""

from __future__ import annotations

import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple

from engine.config.reading import range_words
from engine.config.sections import SECTIONS, Key, Section, Settings, all_keys, section_keys

_HEAD = """# Settings

Each setting is taken from the first of these that names it:

1. the environment variable `WINDSOCK__SECTION__KEY`, in capitals or not,
2. the file `$WINDSOCK_HOME/windsock.toml`, as `key = value` under `[section]`,
3. the default below.

`WINDSOCK_HOME` is `~/windsock` unless set, and must be an absolute path. In paths `~` and `$VARIABLES` are
filled in, and a relative path is taken from `$WINDSOCK_HOME`. A setting that does not exist and a value that
is not allowed are refused at start, with a suggestion. `windsock config list` shows each value and where it came
from, secrets masked.
"""


class Setting(NamedTuple):
    """One line of ``windsock config list``.

    ``value`` is masked where it is secret; ``origin`` is ``default``, an environment variable or a file.
    """

    name: str
    value: str
    origin: str
    default: str
    help: str


def describe(settings: Settings) -> list[Setting]:
    """Every setting with its value and origin, fit to be shown."""
    return [_setting(settings, key) for key in all_keys()]


def reference_page() -> str:
    """``docs/configuration.md``: every key with its variable, what is allowed, its default and its help."""
    return "\n".join([_HEAD, _ports_page(), *(_section_page(name, kind) for name, kind in SECTIONS.items())])


def _ports_page() -> str:
    """How a second house stands beside the first: one block that moves every port."""
    lines = [_PORTS_HEAD, "", "```toml"]
    for section, names in _PORTS.items():
        defaults = {key.name: key.default for key in section_keys(SECTIONS[section])}
        lines += [f"[{section}]", *(f"{name} = {defaults[name] + _MOVED_BY}" for name in names), ""]
    return "\n".join([*lines[:-1], "```", "", _PORTS_FOOT, ""])


def _setting(settings: Settings, key: Key) -> Setting:
    value = getattr(getattr(settings, key.section), key.name)
    origin = settings.origins.get(key.dotted, "default")
    return Setting(key.dotted, key.shown(value), origin, key.shown(key.default), key.about.help)


def _section_page(name: str, kind: type[Section]) -> str:
    lines = [
        f"## [{name}]",
        "",
        (kind.__doc__ or "").strip(),
        "",
        "| key | allowed | default | meaning |",
        "|---|---|---|---|",
    ]
    return "\n".join([*lines, *_rows(kind), ""])


def _rows(kind: type[Section]) -> Iterator[str]:
    for key in section_keys(kind):
        default = f"`{shown}`" if (shown := key.shown(key.default)) else "empty"
        yield f"| `{key.name}`<br>`{key.variable}` | {_allowed(key)} | {default} | {_meaning(key)} |"


def _meaning(key: Key) -> str:
    aliases = ", ".join(f"`{alias}`" for alias in key.about.aliases)
    return key.about.help + (f" Also written {aliases}." if aliases else "") + (" Secret." if key.about.mask else "")


def _allowed(key: Key) -> str:
    if typing.get_origin(key.type) is Literal:
        return ", ".join(f"`{choice}`" for choice in typing.get_args(key.type))
    if typing.get_origin(key.type) is tuple:
        return "list of URLs" if key.about.form == "apprise_url" else "list of texts"
    return f"{_NOUNS[key.type]}{range_words(key)}"


_NOUNS: dict[Any, str] = {bool: "true or false", int: "whole number", float: "number", str: "text", Path: "path"}
_MOVED_BY: Final = 10_000
_PORTS: Final = {
    "webserver": ("web_server_port",),
    "exporter": ("port", "metastore_port", "statsd_port"),
    "metrics": ("statsd_port",),
    "prometheus": ("port", "alertmanager_port"),
    "grafana": ("port",),
}
_PORTS_HEAD: Final = """\
## Other ports

`windsock up` says which port is taken, and the setting that moves it. To move all of them at once, also for a second
house beside the first, put this into the `windsock.toml` of a home of its own:"""
_PORTS_FOOT: Final = """\
```
export WINDSOCK_HOME=~/windsock-2      # where that windsock.toml is
windsock up --detach
windsock status                        # each component with its address
```

`metrics.statsd_port` is where Windsock sends its metrics, so it is the `exporter.statsd_port`. Prometheus, Alertmanager
and Grafana are told the new ports by themselves. Every later command needs the same `WINDSOCK_HOME`. In the environment
each is `WINDSOCK__SECTION__KEY`, such as `WINDSOCK__WEBSERVER__WEB_SERVER_PORT=18080`. With Docker, `ports` in
`docker-compose.yml` decides instead."""

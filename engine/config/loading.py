"""From the environment and ``windsock.toml`` to the settings, every mistake told at once."""

from __future__ import annotations

import difflib
import itertools
import os
import tomllib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from engine.config import masking
from engine.config.reading import Reader, RefusedError, closest
from engine.config.sections import SECTIONS, Key, Section, Settings, all_keys, section_keys

PREFIX = "WINDSOCK__"
HOME = "WINDSOCK_HOME"
FILE_NAME = "windsock.toml"


class ConfigError(Exception):
    """The settings cannot be used. ``problems`` holds one sentence per mistake, for people."""

    def __init__(self, problems: Iterable[str]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(self.problems))


@dataclass(frozen=True, slots=True)
class Given:
    """A value that somebody set, not checked yet; ``key`` is the declared one even for an alias."""

    key: Key
    raw: Any
    written: str  # the name as written, section.key
    origin: str


def load(environ: Mapping[str, str] | None = None, home: Path | None = None) -> Settings:
    """Read the settings; raises ConfigError with everything that is wrong with them.

    `environ` is the process's environment by default; `home` overrides its ``WINDSOCK_HOME``.
    """
    environ = os.environ if environ is None else environ
    home = find_home(environ) if home is None else home.absolute()
    problems: list[str] = []
    given = {
        **_single(_from_file(home / FILE_NAME, problems), problems),
        **_single(_from_environment(environ, problems), problems),
    }
    values = _read_all(given, Reader(home, environ), problems)
    if problems:
        raise ConfigError(problems)
    settings = _build(home, values, {name: item.origin for name, item in given.items()})
    if conflicts := list(_conflicts(settings)):
        raise ConfigError(conflicts)
    return settings


def find_home(environ: Mapping[str, str] | None = None) -> Path:
    """``$WINDSOCK_HOME``, else ``~/windsock``; raises ConfigError where that is no place."""
    environ = os.environ if environ is None else environ
    text = environ.get("WINDSOCK_HOME") or "~/windsock"
    try:
        home = Path(text).expanduser()
    except RuntimeError as error:
        raise ConfigError([f"WINDSOCK_HOME cannot be found: {error}"]) from error
    if not home.is_absolute():
        raise ConfigError([f"WINDSOCK_HOME must be an absolute path, not {text!r}."])
    return home


def _from_environment(environ: Mapping[str, str], problems: list[str]) -> Iterator[Given]:
    for variable, text in sorted(environ.items()):
        if not variable.upper().startswith(PREFIX):
            continue
        section, separator, name = variable[len(PREFIX) :].lower().partition("__")
        if not (section and separator and name):
            problems.append(f"{variable} is not of the form WINDSOCK__SECTION__KEY.")
        elif key := _find(section, name, variable, problems):
            yield Given(key, text, f"{section}.{name}", variable)


def suspicions(environ: Mapping[str, str] | None = None) -> list[str]:
    """One sentence per environment variable that sets nothing and hardly means to: near misses of our own names.

    They are no errors: the environment belongs to others too.
    """
    names = sorted(os.environ if environ is None else environ)
    return [f"{name} sets nothing; did you mean {meant}?" for name in names if (meant := _meant(name.upper()))]


def _meant(variable: str) -> str | None:
    if variable == HOME or variable.startswith(PREFIX):
        return None
    prefix, separator, rest = variable.partition("__")
    if variable.startswith("WINDSOCK_"):
        flat = {name.replace("__", "_"): ours for name, ours in _variables().items()}
        if found := flat.get(variable.removeprefix("WINDSOCK_").replace("__", "_")):
            return found
        if separator:
            return "WINDSOCK__SECTION__KEY"
    if separator:  # Airflow has many settings; only those that there are here, too
        return _variables().get(rest) if prefix == "AIRFLOW" or closest(prefix, ["WINDSOCK"]) else None
    return HOME if difflib.get_close_matches(variable, [HOME], cutoff=0.9) else None


def _variables() -> dict[str, str]:
    """SECTION__KEY, under any of its names, and the variable that sets it."""
    return {
        f"{key.section}__{name}".upper(): key.variable for key in all_keys() for name in (key.name, *key.about.aliases)
    }


def _from_file(path: Path, problems: list[str]) -> Iterator[Given]:
    for section, table in _read_file(path, problems).items():
        if not isinstance(table, dict):
            problems.append(f"{section} in {path} must stand under a section such as [core].")
            continue
        if section not in SECTIONS and not table:
            problems.append(_unknown(section, "", str(path)))
        for name, raw in table.items():
            if key := _find(section, name, str(path), problems):
                yield Given(key, raw, f"{section}.{name}", str(path))


def _read_file(path: Path, problems: list[str]) -> Mapping[str, Any]:
    try:
        return tomllib.loads(path.read_text("utf-8-sig"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        problems.append(f"{path} is not valid TOML: {error}.{_quotes_hint(error)}")
    except OSError as error:
        problems.append(f"{path} cannot be read: {error.strerror}.")
    return {}


def _quotes_hint(error: ValueError) -> str:
    return " Put text in quotes." if "Invalid value" in str(error) else ""


def _find(section: str, name: str, origin: str, problems: list[str]) -> Key | None:
    for key in section_keys(SECTIONS[section]) if section in SECTIONS else ():
        if name in (key.name, *key.about.aliases):
            return key
    problems.append(_unknown(section, name, origin))
    return None


def _unknown(section: str, name: str, origin: str) -> str:
    if section not in SECTIONS:
        near = _elsewhere(name) or closest(section, SECTIONS)
        return _sentence(f"There is no section {section} ({origin})", near)
    near = _elsewhere(name) or closest(f"{section}.{name}", _names())
    return _sentence(f"There is no setting {section}.{name} ({origin})", near)


def _sentence(text: str, near: str | None) -> str:
    return f"{text}; did you mean {near}?" if near else f"{text}."


def _elsewhere(name: str) -> str | None:
    """The full name of a key that was put into the wrong section."""
    return next((key.dotted for key in all_keys() if name in (key.name, *key.about.aliases)), None)


def _names() -> Iterator[str]:
    for key in all_keys():
        yield key.dotted
        yield from (f"{key.section}.{alias}" for alias in key.about.aliases)


def _single(found: Iterator[Given], problems: list[str]) -> dict[str, Given]:
    """One value per key: two spellings of one key within one source are a mistake."""
    by_key: dict[str, list[Given]] = defaultdict(list)
    for item in found:
        by_key[item.key.dotted].append(item)
    for name, items in by_key.items():
        if len(items) > 1:
            spellings = " and ".join(f"{item.written} ({item.origin})" for item in items)
            problems.append(f"{name} is set more than once: {spellings}; keep one of them.")
    return {name: items[-1] for name, items in by_key.items()}


def _read_all(given: Mapping[str, Given], reader: Reader, problems: list[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for key in all_keys():
        item = given.get(key.dotted) or Given(key, _raw_default(key), key.dotted, "default")
        try:
            values[key.dotted] = reader.read(key, item.raw)
        except RefusedError as refused:
            problems.append(_refusal(item, refused))
    return values


def _raw_default(key: Key) -> Any:
    return list(key.default) if isinstance(key.default, tuple) else key.default


def _refusal(item: Given, refused: RefusedError) -> str:
    value = item.key.shown(item.raw) if item.key.about.mask else _unmasked(item.raw)
    return _sentence(f"{item.written} must be {refused.allowed}, not {value} (set by {item.origin})", refused.hint)


def _unmasked(raw: Any) -> str:
    """What is no secret. A password may be in it all the same, and that may be why it is refused."""
    return repr(masking.hide_user(raw) if isinstance(raw, str) else raw)


def _build(home: Path, values: Mapping[str, Any], origins: Mapping[str, str]) -> Settings:
    sections: dict[str, Any] = {name: _section(kind, values) for name, kind in SECTIONS.items()}
    return Settings(home=home, origins=origins, **sections)


def _section(kind: type[Section], values: Mapping[str, Any]) -> Section:
    return kind(**{key.name: values[key.dotted] for key in section_keys(kind)})


def _conflicts(settings: Settings) -> Iterator[str]:
    """Values that are each fine and cannot stand together."""
    if settings.smtp.smtp_ssl and settings.smtp.smtp_starttls:
        yield (
            "smtp.smtp_ssl and smtp.smtp_starttls exclude one another: use smtp_ssl for TLS from the first"
            " byte (port 465), smtp_starttls for an upgrade (port 587)."
        )
    threshold = settings.scheduler.scheduler_health_check_threshold
    heartbeat = max(settings.scheduler.scheduler_heartbeat_sec, settings.scheduler.job_heartbeat_sec)
    if threshold <= heartbeat:
        yield (
            f"scheduler.scheduler_health_check_threshold ({threshold:g}) must be longer than the heartbeats"
            f" ({heartbeat:g}), or healthy processes would count as dead."
        )
    yield from _log_conflicts(settings)
    yield from _port_conflicts(settings)


def _log_conflicts(settings: Settings) -> Iterator[str]:
    logs = settings.logging
    if logs.remote_logging and not logs.remote_base_log_folder:
        yield (
            "logging.remote_logging needs logging.remote_base_log_folder: say where to ship logs, such as "
            "file:///mnt/share/logs or s3://bucket/logs."
        )
    if logs.remote_logging and logs.remote_base_log_folder.startswith("file://"):
        share = Path(unquote(urlsplit(logs.remote_base_log_folder).path)).resolve()
        if share.is_relative_to(logs.base_log_folder.resolve()):
            yield (
                "logging.remote_base_log_folder is logging.base_log_folder itself or a folder in it, by whichever way "
                "it is written; ship logs elsewhere."
            )


def _port_conflicts(settings: Settings) -> Iterator[str]:
    ports = {
        "webserver.web_server_port": settings.webserver.web_server_port,
        "exporter.port": settings.exporter.port,
        "exporter.statsd_port": settings.exporter.statsd_port,
        "exporter.metastore_port": settings.exporter.metastore_port,
        "prometheus.port": settings.prometheus.port,
        "prometheus.alertmanager_port": settings.prometheus.alertmanager_port,
        "grafana.port": settings.grafana.port,
    }
    for (one, port), (other, same) in itertools.combinations(ports.items(), 2):
        if port == same:
            yield f"{one} and {other} are both {port}; give each a port of its own."

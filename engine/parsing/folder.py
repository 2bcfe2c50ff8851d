"""What DAG files there are. Files are looked at cheaply (size and time), and read only when that changed."""

from __future__ import annotations

import errno
import hashlib
import logging
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from engine.authoring.faults import Fault
from engine.parsing.ignore import GLOB_FILE, REGEXP_FILE, RuleSet, is_ignored, read_rules
from engine.parsing.reads import GONE, Stamp

log = logging.getLogger(__name__)

_TOP = PurePosixPath()
Troubles = dict[str, OSError]
"""Folders that could not be read, and why."""
# A DAG file speaks of DAGs and of whom it imports them from, in any case of letters. A file written for Airflow is
# worth a process too: its error says what to import instead.
_SUBJECT = b"dag"
_SOURCES = (b"engine", b"airflow")


@dataclass(frozen=True, slots=True)
class Root:
    """A folder of DAG files. `prefix` stands before its files' names where there are several roots."""

    path: Path
    prefix: str = ""


@dataclass(frozen=True, slots=True)
class SourceFile:
    """A Python file of the folder. `content_hash` is None where `fault` says why it was not read."""

    path: str
    name: str  # relative to its root, for logs and metrics
    root: str
    stamp: Stamp
    content_hash: str | None
    is_dag_file: bool
    fault: Fault | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """One look at the folders. What is below those that could not be read (`missing`) counts as unchanged."""

    files: dict[str, SourceFile]
    missing: tuple[str, ...] = ()

    def is_missing(self, path: str) -> bool:
        """Whether `path` is below a folder that could not be read, so that nothing is known of it."""
        return path.startswith(tuple(f"{folder}/" for folder in self.missing))

    @property
    def dag_files(self) -> dict[str, SourceFile]:
        return {path: file for path, file in self.files.items() if file.is_dag_file}


@dataclass(slots=True)
class Folder:
    """The roots, and what the last look at them found."""

    roots: tuple[Root, ...]
    max_file_bytes: int
    _last: dict[str, SourceFile] = field(default_factory=dict)
    _troubles: Troubles = field(default_factory=dict)

    def look(self) -> Listing:
        """List all files; a file whose size and time are as before is not read again."""
        found: dict[str, SourceFile] = {}
        troubles: Troubles = {}
        for root in self.roots:
            for path, stamp in python_files(root.path, troubles):
                file = self._file(root, path, stamp) if is_utf8(path) else _badly_named(root, path, stamp)
                found.setdefault(file.path, file)
        self._warn_of(troubles)
        listing = Listing(found, tuple(troubles))
        found |= {path: file for path, file in self._last.items() if listing.is_missing(path)}
        self._last = found
        return listing

    def _warn_of(self, troubles: Troubles) -> None:
        """Once for each: a look comes every few seconds."""
        for path in troubles.keys() - self._troubles.keys():
            log.warning("The folder %s cannot be read (%s); its DAGs stay as they are.", path, troubles[path].strerror)
        self._troubles = troubles

    def _file(self, root: Root, path: str, stamp: Stamp | OSError) -> SourceFile:
        before = self._last.get(path)
        if before and before.stamp == stamp and before.content_hash:
            return before
        name = str(PurePosixPath(root.prefix) / os.path.relpath(path, root.path))
        if isinstance(stamp, OSError):
            return SourceFile(path, name, str(root.path), GONE, None, True, _unreadable(path, stamp))
        if stamp[1] > self.max_file_bytes:
            return SourceFile(path, name, str(root.path), stamp, None, True, _too_large(stamp[1], self.max_file_bytes))
        try:
            content = Path(path).read_bytes()
        except OSError as error:
            return SourceFile(path, name, str(root.path), stamp, None, True, _unreadable(path, error))
        digest = hashlib.sha256(content).hexdigest()
        return SourceFile(path, name, str(root.path), stamp, digest, looks_like_dag_file(content))


def is_utf8(path: str) -> bool:
    """Whether a path can be written down: Linux allows any bytes in names, and the metastore does not."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def looks_like_dag_file(content: bytes) -> bool:
    """Airflow's safe mode: files that cannot hold a DAG are not worth a process."""
    lowered = content.lower()
    return _SUBJECT in lowered and any(word in lowered for word in _SOURCES)


def python_files(root: Path, troubles: Troubles) -> Iterator[tuple[str, Stamp | OSError]]:
    """Paths of the ``.py`` files below `root` that no ignore file leaves out, sorted, each with its stamp.

    Hidden files are left out. A file that cannot even be looked at comes with the error instead of the stamp; a folder
    that cannot be read is put into `troubles`.
    """
    yield from _walk(str(root), _TOP, (), {os.path.realpath(root)}, troubles)


def _walk(
    root: str, folder: PurePosixPath, rules: tuple[RuleSet, ...], seen: set[str], troubles: Troubles
) -> Iterator[tuple[str, Stamp | OSError]]:
    path = root if folder == _TOP else f"{root}/{folder}"
    try:
        entries = sorted(os.scandir(path), key=lambda entry: entry.name)
    except OSError as error:
        if folder == _TOP or not isinstance(error, FileNotFoundError):  # below the root, it went since the listing
            troubles[path] = error
        return
    rules += tuple(_ignore_files(folder, entries))
    for entry in entries:
        name = folder / entry.name
        is_folder = _is_folder(entry)
        if entry.name.startswith((".", "__pycache__")) or is_ignored(rules, name, is_folder):
            continue
        if is_folder:
            if (real := os.path.realpath(entry.path)) not in seen:  # a link may lead upwards
                seen.add(real)
                yield from _walk(root, name, rules, seen, troubles)
        elif entry.name.endswith(".py") and (stamp := _stamp(entry)):
            yield entry.path, stamp


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """False for what cannot be looked at, such as a link that leads to itself."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _ignore_files(folder: PurePosixPath, entries: list[os.DirEntry[str]]) -> Iterator[RuleSet]:
    for entry in entries:
        if entry.name in (GLOB_FILE, REGEXP_FILE):
            try:
                yield read_rules(folder, entry.name, Path(entry.path).read_text(errors="replace"))
            except OSError as error:
                log.warning("%s cannot be read: %s.", entry.path, error.strerror)


def _stamp(entry: os.DirEntry[str]) -> Stamp | OSError | None:
    try:
        status = entry.stat()
    except FileNotFoundError:  # gone since the listing, or a link to nowhere
        return None
    except OSError as error:
        return error
    return status.st_mtime_ns, status.st_size


def _badly_named(root: Root, path: str, stamp: Stamp | OSError) -> SourceFile:
    """From here on such a file goes by a name in which the odd bytes are escaped, and is never opened."""
    shown = os.fsencode(path).decode(errors="backslashreplace")
    name = str(
        PurePosixPath(root.prefix) / os.path.relpath(shown, os.fsencode(root.path).decode(errors="backslashreplace"))
    )
    summary = f"The name of the file is not UTF-8 (odd bytes are shown as escapes); it was not read: {name}"
    fault = Fault(summary, "Rename the file, or its folder, with letters that UTF-8 knows.", story=summary)
    known = GONE if isinstance(stamp, OSError) else stamp
    return SourceFile(shown, name, str(root.path), known, None, True, fault)


def _too_large(size: int, limit: int) -> Fault:
    summary = f"The file has {size:,} bytes, more than the {limit:,} that a DAG file may have; it was not read."
    remedy = "Move data out of the DAG file, or raise WINDSOCK__CORE__MAX_FILE_BYTES."
    return Fault(summary, remedy, story=summary)


def _unreadable(path: str, error: OSError) -> Fault:
    summary = f"The file cannot be read: {error.strerror}."
    remedy = f"Give the user that runs Windsock the right to read it: chmod a+r {path}"
    if error.errno == errno.ELOOP:
        remedy = "It is a link that leads back to itself: let it lead to a file, or delete it."
    return Fault(summary, remedy, story=f"{type(error).__name__}: {error}")

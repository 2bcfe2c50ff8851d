"""What the DAG processor writes to the metastore: serialised DAGs and import errors, and only where something changed.

:func:`plan` compares what was parsed with what is stored, and is pure. The processor runs it on rows that it remembers;
only if something changed it opens a transaction, plans again on the rows as they are, and writes. Two processors may
therefore work on one metastore: what one of them inserted first, the other finds there when it tries again.

A dag_id belongs to the file whose DAG was stored first, for as long as that file defines it. What a file with a fault
does not define stays as it was: a typing mistake must not switch DAGs off.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal, TypeVar

from sqlalchemy import Connection, bindparam, delete, insert, or_, select, tuple_, update
from sqlalchemy.exc import IntegrityError

from engine.authoring.faults import Fault
from engine.metastore.store import Store, Tx
from engine.metastore.tables import Dag, DagFile, DagVersion, path_hash
from engine.parsing.news import Broken, News
from engine.parsing.orders import ParsedDag, presentable

T = TypeVar("T")

NO_NAMES: Final = News()  # paths as they are
_INSERT_RACES = 3
Change = Literal["new", "changed", "moved here", "active again"]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What parsing one file gave."""

    path: str
    content_hash: str | None
    seconds: float
    dags: tuple[ParsedDag, ...] = ()
    faults: tuple[Fault, ...] = ()


@dataclass(frozen=True, slots=True)
class StoredDag:
    """A row of ``dag``."""

    dag_id: str
    path_hash: str
    fileloc: str
    version: str
    is_active: bool


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A row of ``dag_file``, as far as a change of it is worth a write."""

    path_hash: str
    path: str
    content_hash: str | None
    dag_count: int
    error_summary: str | None
    error_remedy: str | None
    error_line: int | None


@dataclass(slots=True)
class Known:
    """Rows by their keys."""

    files: dict[str, StoredFile] = field(default_factory=dict)
    dags: dict[str, StoredDag] = field(default_factory=dict)

    def update(self, fresh: Known) -> None:
        """Take in rows that were read anew."""
        self.files |= fresh.files
        self.dags |= fresh.dags


@dataclass(slots=True)
class Plan:
    """What is to be written for a batch. `conflicts`: path → faults that only the comparison shows."""

    changes: dict[str, Change] = field(default_factory=dict)  # dag_id → what becomes of it
    dags: dict[str, tuple[str, ParsedDag]] = field(default_factory=dict)  # dag_id → path and DAG to write
    released: set[str] = field(default_factory=set)  # dag_ids that their file does not define any more
    files: list[tuple[StoredFile, Outcome, str | None]] = field(default_factory=list)  # with the whole error
    conflicts: dict[str, list[Fault]] = field(default_factory=dict)
    told: int = 0  # events of files that broke, or are well again

    @property
    def is_empty(self) -> bool:
        return not (self.dags or self.released or self.files)


def read_known(connection: Connection, dag_ids: Collection[str] = (), paths: Collection[str] = ()) -> Known:
    """The stored rows of these DAGs and files and of the DAGs in these files; without any, all rows."""
    dags = select(Dag.dag_id, Dag.path_hash, Dag.fileloc, Dag.version, Dag.is_active)
    files = select(*(getattr(DagFile, name) for name in StoredFile.__slots__))
    if dag_ids or paths:
        hashes = [path_hash(path) for path in paths]
        dags = dags.where(or_(Dag.dag_id.in_(dag_ids), Dag.path_hash.in_(hashes)))
        files = files.where(DagFile.path_hash.in_(hashes))
    return Known(
        {row.path_hash: StoredFile(*row) for row in connection.execute(files)},
        {row.dag_id: StoredDag(*row) for row in connection.execute(dags)},
    )


def altered(before: Known, after: Known) -> set[str]:
    """Paths of the files of which somebody else has changed or removed rows, or the rows of their DAGs."""
    files = {file.path for key, file in before.files.items() if after.files.get(key) != file}
    return files | {dag.fileloc for dag_id, dag in before.dags.items() if after.dags.get(dag_id) != dag}


def plan(known: Known, outcomes: Sequence[Outcome]) -> Plan:
    """What the outcomes change. First what files let go is released, then DAGs are claimed in order of paths."""
    made = Plan()
    for outcome in outcomes:
        made.released |= _let_go(known, outcome)
    for outcome in sorted(outcomes, key=lambda outcome: outcome.path):
        accepted = sum(_claim(made, known, outcome, dag) for dag in outcome.dags)
        faults = [presentable(fault) for fault in (*outcome.faults, *made.conflicts.get(outcome.path, ()))]
        file = _file_row(outcome, accepted, faults)
        if known.files.get(file.path_hash) != file:
            made.files.append((file, outcome, _story(faults)))
    made.released -= made.dags.keys()
    return made


def _let_go(known: Known, outcome: Outcome) -> set[str]:
    if outcome.faults:
        return set()
    here, defined = path_hash(outcome.path), {dag.dag_id for dag in outcome.dags}
    owned = {dag.dag_id for dag in known.dags.values() if dag.path_hash == here and dag.is_active}
    return owned - defined


def _claim(made: Plan, known: Known, outcome: Outcome, dag: ParsedDag) -> bool:
    """Enter a DAG into the plan as far as it changed; False where its dag_id belongs to another file."""
    if owner := _owner(made, known, dag.dag_id, outcome.path):
        made.conflicts.setdefault(outcome.path, []).append(_taken(dag, outcome.path, owner))
        return False
    if change := _change(known.dags.get(dag.dag_id), outcome.path, dag):
        made.changes[dag.dag_id] = change
        made.dags[dag.dag_id] = (outcome.path, dag)
    return True


def _owner(made: Plan, known: Known, dag_id: str, path: str) -> str | None:
    """The other file that a dag_id belongs to."""
    if dag_id in made.dags:
        return made.dags[dag_id][0]
    row = known.dags.get(dag_id)
    if row is None or not row.is_active or dag_id in made.released or row.path_hash == path_hash(path):
        return None
    return row.fileloc


def _change(row: StoredDag | None, path: str, dag: ParsedDag) -> Change | None:
    if row is None:
        return "new"
    if row.path_hash != path_hash(path):
        return "moved here"
    if not row.is_active:
        return "active again"
    return "changed" if row.version != dag.version else None


def _taken(dag: ParsedDag, path: str, owner: str) -> Fault:
    where = f"Line {dag.line}: the" if dag.line else "The"
    summary = f"{where} dag_id {dag.dag_id!r} is already used by {owner}, so the DAG in {path} was not loaded."
    remedy = f"Give one of the two DAGs another dag_id, or remove one of the files: {owner}, {path}."
    return Fault(summary, remedy, dag.line, summary, dag.dag_id)


def _file_row(outcome: Outcome, dag_count: int, faults: Sequence[Fault]) -> StoredFile:
    first = faults[0] if faults else None
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    return StoredFile(
        path_hash=path_hash(outcome.path),
        path=outcome.path,
        content_hash=outcome.content_hash,
        dag_count=dag_count,
        error_summary=first.summary + more if first else None,
        error_remedy=first.remedy if first else None,
        error_line=first.line if first else None,
    )


def _story(faults: Iterable[Fault]) -> str | None:
    told = [f"{fault.summary}\n{fault.remedy}\n\n{fault.story}".strip() for fault in faults]
    return "\n\n".join(told) or None


def save(store: Store, known: Known, outcomes: Sequence[Outcome], news: News = NO_NAMES) -> Plan:
    """Write what a batch changed, in one transaction, or nothing; brings `known` up to date. Tells what was done."""
    made = plan(known, outcomes)
    if made.is_empty:
        return made
    made, fresh = _repeated(store, lambda tx: _save(tx, outcomes, news))
    known.update(fresh)
    return made


def _save(tx: Tx, outcomes: Sequence[Outcome], news: News) -> tuple[Plan, Known]:
    dag_ids = {dag.dag_id for outcome in outcomes for dag in outcome.dags}
    paths = [outcome.path for outcome in outcomes]
    stored = read_known(tx.connection, dag_ids, paths)
    made = plan(stored, outcomes)
    made.told = _tell(tx, news, made, stored)
    _write_versions(tx, [dag for _, dag in made.dags.values()])
    _write_dags(tx, made, stored)
    _release(tx, made.released)
    _write_files(tx, made, stored)
    return made, read_known(tx.connection, dag_ids, paths)


def _tell(tx: Tx, news: News, made: Plan, stored: Known) -> int:
    """Before anything is written: what a broken file defined until now may be released by another of the batch."""
    broken = [
        Broken(file.path, file.error_summary, story or "")
        for file, _, story in made.files
        if file.error_summary and not _was_broken(stored, file)
    ]
    well = [file.path for file, _, _ in made.files if not file.error_summary and _was_broken(stored, file)]
    return news.broken(tx, broken) + news.repaired(tx, well, "can be read again")


def _was_broken(stored: Known, file: StoredFile) -> bool:
    before = stored.files.get(file.path_hash)
    return before is not None and before.error_summary is not None


def forget(store: Store, known: Known, paths: Sequence[str], news: News = NO_NAMES) -> set[str]:
    """Files are gone: their DAGs become inactive. Returns the dag_ids that are free now."""
    hashes = [path_hash(path) for path in paths]

    def work(tx: Tx) -> tuple[set[str], Known]:
        stored = read_known(tx.connection, paths=paths)
        released = {dag.dag_id for dag in stored.dags.values() if dag.is_active}
        broken = [file.path for file in stored.files.values() if file.error_summary]
        news.repaired(tx, broken, "was removed")
        _release(tx, released)
        tx.connection.execute(delete(DagFile).where(DagFile.path_hash.in_(hashes)))
        return released, Known({}, {dag_id: replace(stored.dags[dag_id], is_active=False) for dag_id in released})

    released, fresh = _repeated(store, work)
    for gone in hashes:
        known.files.pop(gone, None)
    known.update(fresh)
    return released


def _repeated(store: Store, work: Callable[[Tx], T]) -> T:
    for _ in range(_INSERT_RACES):
        try:
            return store.run(work)
        except IntegrityError:  # another processor inserted the same row first
            continue
    return store.run(work)


def _write_versions(tx: Tx, dags: Sequence[ParsedDag]) -> None:
    if not dags:
        return
    keys = [(dag.dag_id, dag.version) for dag in dags]
    statement = select(DagVersion.dag_id, DagVersion.version)
    statement = statement.where(tuple_(DagVersion.dag_id, DagVersion.version).in_(keys))
    there = {tuple(row) for row in tx.connection.execute(statement)}
    rows = [
        {"dag_id": dag.dag_id, "version": dag.version, "data": dag.data, "created_at": tx.now}
        for dag in dags
        if (dag.dag_id, dag.version) not in there
    ]
    if rows:
        tx.connection.execute(insert(DagVersion), rows)


def _write_dags(tx: Tx, made: Plan, stored: Known) -> None:
    rows = [
        {
            "dag_id": dag_id,
            "path_hash": path_hash(path),
            "fileloc": path,
            "version": dag.version,
            "is_active": True,
            "updated_at": tx.now,
        }
        for dag_id, (path, dag) in sorted(made.dags.items())
    ]
    _write(tx, Dag, Dag.dag_id, rows, stored.dags)


def _write_files(tx: Tx, made: Plan, stored: Known) -> None:
    now = tx.now
    rows = [
        {name: getattr(file, name) for name in StoredFile.__slots__}
        | {"parsed_at": now, "parse_seconds": outcome.seconds, "error": error}
        for file, outcome, error in sorted(made.files, key=lambda item: item[0].path_hash)
    ]
    _write(tx, DagFile, DagFile.path_hash, rows, stored.files)
    statement = update(DagFile).where(DagFile.path_hash.in_([row["path_hash"] for row in rows]))
    failed = DagFile.error.is_not(None)
    tx.connection.execute(statement.where(~failed).values(error_since=None))
    tx.connection.execute(statement.where(failed, DagFile.error_since.is_(None)).values(error_since=now))


def _write(tx: Tx, table: Any, key: Any, rows: list[dict[str, Any]], there: Collection[str]) -> None:
    """Update the rows whose key is there, insert the others: an upsert that all dialects know."""
    new = [row for row in rows if row[key.name] not in there]
    old = [
        {"row_key" if name == key.name else name: row[name] for name in row} for row in rows if row[key.name] in there
    ]
    if new:
        tx.connection.execute(insert(table), new)
    if old:
        values: dict[str, Any] = {name: bindparam(name) for name in old[0] if name != "row_key"}
        tx.connection.execute(update(table.__table__).where(key == bindparam("row_key")).values(values), old)


def _release(tx: Tx, dag_ids: Collection[str]) -> None:
    if dag_ids:
        statement = update(Dag).where(Dag.dag_id.in_(sorted(dag_ids)), Dag.is_active)
        tx.connection.execute(statement.values(is_active=False, updated_at=tx.now))

"""Who may sign in: argon2id hashes in the metastore, and the first password in a file for the owner's eyes."""

from __future__ import annotations

import functools
import os
import secrets
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError
from sqlalchemy import delete, insert, select, update
from sqlalchemy.exc import IntegrityError

from engine.metastore.errors import NotFound
from engine.metastore.tables import User, WebSession

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from engine.config import Settings
    from engine.metastore.store import Store, Tx

ADMIN: Final = "admin"
PASSWORD_FILE: Final = "admin-password"  # noqa: S105
SHORTEST_PASSWORD: Final = 10
LONGEST_PASSWORD: Final = 1024

_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"  # nothing that reads like something else
_hasher = PasswordHasher(time_cost=3, memory_cost=64 * 1024, parallelism=2)
_turns = threading.BoundedSemaphore(2)  # each hash takes 64 MiB; a crowd must queue, not exhaust the machine


def ensure_admin(store: Store) -> str | None:
    """Create the user ``admin`` where nobody can sign in yet; returns the generated password, this one time."""
    return _create_first(store, _generated(), lambda _password: None)


def ensure_admin_file(settings: Settings, store: Store) -> Path | None:
    """Like :func:`ensure_admin`, with the password in ``$WINDSOCK_HOME/admin-password`` (mode 0600).

    A password that the file holds already stays: the home may know several databases, and one that was reset.
    Returns the file when admin was made now, None when somebody can sign in already. The file is complete before the
    user is committed, so a crash in between leaves a stale file and never a user whose password nobody knows.
    """
    path = settings.home / PASSWORD_FILE
    kept = _read_private(path)
    if kept is not None:
        created = _create_first(store, kept, lambda _password: None)
    else:
        created = _create_first(store, _generated(), lambda password: _write_private(path, f"{password}\n"))
    return path if created else None


def _generated() -> str:
    return "-".join("".join(secrets.choice(_LETTERS) for _ in range(5)) for _ in range(4))


def _create_first(store: Store, password: str, tell: Callable[[str], None]) -> str | None:
    with store.read() as connection:
        if _somebody_can_sign_in(connection):
            return None  # without the hash, which takes its time
    password_hash = _hash(password)

    def work(tx: Tx) -> str | None:
        if _somebody_can_sign_in(tx.connection):
            return None
        row = {"username": ADMIN, "password_hash": password_hash, "created_at": tx.now}
        tx.connection.execute(insert(User).values(row))
        tell(password)
        return password

    try:
        return store.run(work)
    except IntegrityError:
        return None  # another process was first


def _somebody_can_sign_in(connection: Connection) -> bool:
    return connection.scalar(select(User.id).limit(1)) is not None


def _read_private(path: Path) -> str | None:
    """The password in the file; None unless it is one, and nobody but this user could read or write it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError:
        return None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_uid != os.geteuid() or about.st_mode & 0o077:
            return None
        text = file.read(4 * LONGEST_PASSWORD + 2).decode("utf-8", "replace").strip("\r\n")
    return text if SHORTEST_PASSWORD <= len(text) <= LONGEST_PASSWORD and text.isprintable() else None


def _write_private(path: Path, text: str) -> None:
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    with os.fdopen(descriptor, "w") as file:
        file.write(text)
        file.flush()
        os.fsync(descriptor)
    draft.replace(path)


def set_password(store: Store, username: str, password: str) -> None:
    """Give a user a new password and end every session of theirs.

    Raises ValueError for a password that is too short or too long, and NotFound for an unknown user.
    """
    if not SHORTEST_PASSWORD <= len(password) <= LONGEST_PASSWORD:
        raise ValueError(f"a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters")
    password_hash = _hash(password)

    def work(tx: Tx) -> None:
        user_id = tx.connection.scalar(select(User.id).where(User.username == username))
        if user_id is None:
            raise NotFound(f"there is no user {username!r}")
        tx.connection.execute(update(User).where(User.id == user_id).values(password_hash=password_hash))
        tx.connection.execute(delete(WebSession).where(WebSession.user_id == user_id))

    store.run(work)


def verify(store: Store, username: str, password: str) -> int | None:
    """The user's id where the password is right, else None. Takes as long for an unknown user as for a known one."""
    decoy = _decoy()
    with store.read() as connection:
        row = connection.execute(select(User.id, User.password_hash).where(User.username == username)).one_or_none()
    right = _matches(decoy if row is None else row.password_hash, password)
    if row is None or not right:
        return None
    if _hasher.check_needs_rehash(row.password_hash):
        _rehash(store, row.id, row.password_hash, password)
    user_id: int = row.id
    return user_id


def _rehash(store: Store, user_id: int, old_hash: str, password: str) -> None:
    new_hash = _hash(password)
    statement = update(User).where(User.id == user_id, User.password_hash == old_hash).values(password_hash=new_hash)
    store.run(lambda tx: tx.connection.execute(statement))


def _hash(password: str) -> str:
    with _turns:
        return _hasher.hash(password)


def _matches(password_hash: str, password: str) -> bool:
    try:
        with _turns:
            return _hasher.verify(password_hash, password[: LONGEST_PASSWORD + 1])
    except (VerificationError, InvalidHashError):
        return False


@functools.cache
def _decoy() -> str:
    return _hash(secrets.token_urlsafe())

"""What can go wrong with the metastore, in words for the person who must mend it."""

from __future__ import annotations


class MetastoreError(Exception):
    """Base of the metastore's errors; the message says what to do next."""


class Unreachable(MetastoreError):
    """The database cannot be used now: its server does not answer, its disk is full."""


class Damaged(MetastoreError):
    """The database's file is damaged, in whole or in a place, or is none: no waiting mends it."""


class AccessDenied(MetastoreError):
    """The database refuses the user, the password or the database's name."""


class SchemaOutdated(MetastoreError):
    """The tables are missing, or of another version than this program's."""


class Refused(MetastoreError):
    """What was asked for can never be."""


class Duplicate(MetastoreError):
    """Something with this identity is already there."""


class NotFound(MetastoreError):
    """There is no such DAG, run or task."""


class InUse(MetastoreError):
    """It cannot be removed while something rests on it."""

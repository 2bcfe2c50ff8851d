"""What can be wrong with a board's source."""

from __future__ import annotations


class BoardError(Exception):
    """Base of this package's errors."""


class UnknownFamilyError(BoardError):
    """No table names the series that a board asks for."""


class WrongQueryError(BoardError):
    """A query does not fit the signal's type: a rate of a gauge, the level of a counter."""

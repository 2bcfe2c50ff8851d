"""Errors of this package. What reads as a sentence is meant for the person who has to act on it."""

from __future__ import annotations


class AlertingError(Exception):
    """Base of every error raised here. The message never holds a receiver's URL or a password."""


class Unreadable(AlertingError):
    """What is stored holds nothing that this version understands. Another one may have written it."""


class ReceiverError(AlertingError):
    """A receiver's URL cannot be used: its scheme is unknown or a part of it is missing."""

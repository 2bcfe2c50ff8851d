"""Why a metastore could not be read, in words for the person who must mend it. No message holds a password."""

from __future__ import annotations

from exporters.errors import ExporterError


class ReadError(ExporterError):
    """The database cannot be read now."""


class DatabaseUrlError(ExporterError):
    """A database URL that cannot be understood."""


class UnknownSchemaError(ReadError):
    """The database answers, and its tables are not the expected ones."""

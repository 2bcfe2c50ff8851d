"""What can go wrong here. Every message is for a person and says what to do."""

from __future__ import annotations


class ExporterError(Exception):
    """Base of the package's errors."""


class UnknownSignalError(ExporterError):
    """A name that the catalogue does not have."""


class MappingError(ExporterError):
    """A mapping file that cannot be used."""


class AddressError(ExporterError):
    """A port that is taken, or an address that is not ours."""


class WebServerDiedError(ExporterError):
    """The thread behind /metrics ended by itself."""

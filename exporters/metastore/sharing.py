"""One read for many scrapes, and an end to waiting."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from exporters.errors import ExporterError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from exporters.metastore.samples import LabelValues

    Read = Callable[[], Mapping[str, Mapping[LabelValues, float]]]

GIVE_UP_AFTER: Final = 10
"""Times the patience after which a read is given up, so that a connection that hangs for good is not waited for."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Reading:
    """How a read ended: what it found by signal and label values, or why there is nothing."""

    values: Mapping[str, Mapping[LabelValues, float]] = field(default_factory=dict)
    fault: str = ""


class SharedRead:
    """Gives the newest reading, at most `cache_seconds` old; scrapes that come at once share one read.

    `make_read` is called for the first read, and anew when one was given up, so that the two have nothing in common. It
    may raise ExporterError too.
    """

    def __init__(
        self,
        make_read: Callable[[], Read],
        *,
        cache_seconds: float,
        patience_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._make_read = make_read
        self._read: Read | None = None
        self._cache_seconds = cache_seconds
        self._patience = patience_seconds
        self._clock = clock
        self._lock = threading.Lock()
        self._flight: _Flight | None = None
        self._told = ""  # the fault that the log knows of
        self.reads = 0

    def newest(self) -> Reading:
        """The reading; one with a fault where the database cannot be read or does not answer in time."""
        flight = self._join()
        if not flight.done.wait(self._patience):
            return self._tell(Reading(fault=f"the database has not answered for {self._patience:g} s"))
        return self._tell(flight.reading)

    def _join(self) -> _Flight:
        """The read under way, or the last one while it is fresh, or a new one."""
        with self._lock:
            now, last = self._clock(), self._flight
            if last is not None and self._serves(last, now):
                return last
            if last is not None and not last.done.is_set():
                self._read = None
            self._flight = flight = _Flight(now)
            self.reads += 1
        # A daemon: a driver that hangs for good must not keep the process from ending.
        threading.Thread(target=self._fly, args=(flight,), name="read", daemon=True).start()
        return flight

    def _serves(self, flight: _Flight, now: float) -> bool:
        """Whether a scrape may have this read's answer: it is fresh, or it may still come."""
        if flight.done.is_set():
            return now - flight.ended < self._cache_seconds
        return now - flight.began < self._patience * GIVE_UP_AFTER

    def _fly(self, flight: _Flight) -> None:
        try:
            flight.reading = Reading(self._read_for(flight)())
        except ExporterError as error:
            flight.reading = Reading(fault=str(error))
        except Exception as error:  # a defect of ours: the page says "down", the log says where
            logger.exception("A read of the metastore failed")
            flight.reading = Reading(fault=f"{type(error).__name__}: see the traceback above")
        finally:
            flight.ended = self._clock()
            flight.done.set()

    def _read_for(self, flight: _Flight) -> Read:
        """The read that is there, or a new one, which later flights have too unless this one was given up meanwhile."""
        with self._lock:
            read = self._read if self._flight is flight else None
        if read is None:
            read = self._make_read()
            with self._lock:
                if self._flight is flight:
                    self._read = read
        return read

    def _tell(self, reading: Reading) -> Reading:
        """Log each change between well and not, once."""
        with self._lock:
            before, self._told = self._told, reading.fault
        if reading.fault and not before:
            logger.error("No metrics of the metastore: %s. It is tried again with each scrape", reading.fault)
        elif before and not reading.fault:
            logger.info("The metastore is read again")
        return reading


class _Flight:
    """A read under way, or over."""

    def __init__(self, began: float) -> None:
        self.began = self.ended = began
        self.done = threading.Event()
        self.reading = Reading(fault="the read has not ended")

"""The call to a dead-man's switch: somebody outside who tells people when it does not come any more."""

from __future__ import annotations

import urllib.request
from dataclasses import dataclass, field
from datetime import datetime
from http.client import HTTPException
from typing import Any, Final, Literal
from urllib.error import HTTPError, URLError

from sqlalchemy import Connection, func, or_, select

from alerting import groups
from alerting.outbox import DeliveryState
from alerting.routes import GRAFANA
from alerting.tables import alert_delivery, alert_event

TIMEOUT_SECONDS: Final = 10.0
_READ_BYTES: Final = 4096
_d, _e = alert_delivery.c, alert_event.c


@dataclass(frozen=True)
class Heartbeat:
    """One URL. Whoever has it can keep the switch quiet, so it is in no message and no log."""

    url: str = field(repr=False)
    method: Literal["GET", "POST"] = "GET"
    timeout_seconds: float = TIMEOUT_SECONDS

    def send(self) -> str | None:
        """None where it was accepted, or else why not, in a few words without the URL."""
        body = b"" if self.method == "POST" else None
        try:
            request = urllib.request.Request(self.url, body, {"User-Agent": "Windsock"}, method=self.method)  # noqa: S310
            with _opener.open(request, timeout=self.timeout_seconds) as answer:
                answer.read(_READ_BYTES)
        except HTTPError as error:
            error.close()
            return f"it was answered with {error.code}{_REDIRECTED if 300 <= error.code < 400 else ''}"
        except TimeoutError:
            return f"there was no answer in {self.timeout_seconds:g} s"
        except URLError as error:
            return self._words(error.reason)
        except (OSError, HTTPException, ValueError) as error:
            return self._words(error)
        return None

    def _words(self, error: object) -> str:
        if isinstance(error, TimeoutError):
            return f"there was no answer in {self.timeout_seconds:g} s"
        text = getattr(error, "strerror", None) or (type(error).__name__ if isinstance(error, Exception) else error)
        return str(text).replace(self.url, "***")


_REDIRECTED: Final = ": redirects are not followed, so set the URL that it leads to"


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """A page that somebody is led to answers 200 whatever became of the call."""

    def redirect_request(self, *_: Any) -> None:
        return None


_opener: Final = urllib.request.build_opener(_NoRedirects)


def oldest_untold(connection: Connection) -> datetime | None:
    """Since when somebody has not been told of what he should be told of; None where nobody waits.

    What waits on purpose, in its group or for its channel's rate, does not count; nor do annotations in Grafana, which
    nobody waits for. The next wave of a group counts from the moment at which it is due, which may be still to come;
    what waits in a group that was put off, from then on.
    """
    unrouted = select(func.min(_e.occurred_at)).where(_e.routed_at.is_(None))
    is_open = _d.state.in_((DeliveryState.PENDING, DeliveryState.SENDING, DeliveryState.WAITING))
    is_no_other_of_a_wave = or_(_d.state != DeliveryState.WAITING, _d.wave.is_(None))
    undelivered = select(func.min(_d.waiting_since)).where(is_open, is_no_other_of_a_wave, _d.channel != GRAFANA)
    found = [connection.execute(query).scalar() for query in (unrouted, undelivered)] + [groups.next_due(connection)]
    return min((moment for moment in found if moment is not None), default=None)

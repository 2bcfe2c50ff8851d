"""One request to a chat service or a webhook, and what its answer means: accepted, later, or never.

requests is the client that apprise itself uses, so certificates, proxies and time limits are those of its URLs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from alerting.channels import Delivered, Failure, Outcome, Permanent, Retry
from alerting.cleaning import shorten
from alerting.remedies import REPLAY

if TYPE_CHECKING:
    from requests import Response

REASON_LIMIT: Final = 300
LONGEST_WAIT_SECONDS: Final = 3_600.0
MOST_READ_BYTES: Final = 65_536  # of an answer, which says in its first words what it has to say
_READ_AT_ONCE_BYTES: Final = 8_192
ROUTING_FILE: Final = "alerting.yml"
CHANGED_URL: Final = " (with a changed URL: --to its new name)"
_BUSY: Final = {408, 409, 425, 429}


@dataclass(frozen=True)
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    is_whole: bool = True  # False where it broke off, or did not end in time

    def json(self) -> Any:
        """The body; an empty mapping where it is none."""
        try:
            return msgspec.json.decode(self.body)
        except msgspec.DecodeError:
            return {}


Complaint = Callable[[Answer], Outcome | None]


def no_complaint(_answer: Answer) -> None:
    """The status says it all."""


@dataclass(frozen=True)
class Post:
    """A request. ``complaint`` finds a refusal in an answer whose status is that of a success."""

    url: str = field(repr=False)
    body: bytes
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    params: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: tuple[str, str] | None = field(default=None, repr=False)
    method: str = "POST"
    complaint: Complaint = no_complaint


def json_post(url: str, payload: object, headers: Mapping[str, str] | None = None, **options: Any) -> Post:
    """A request with a JSON body."""
    return Post(url, msgspec.json.encode(payload), {"Content-Type": "application/json", **(headers or {})}, **options)


def send(post: Post, plugin: Any, redact: Callable[[str], str], place: str) -> Outcome:
    """Sends with the pace, the time limits and the trust of apprise's ``plugin``; ``place`` is where its URL stands."""
    import requests

    plugin.throttle()
    try:
        with requests.request(
            post.method,
            post.url,
            data=post.body,
            params=dict(post.params),
            headers={"User-Agent": "Windsock", **post.headers},
            auth=post.auth,
            verify=plugin.verify_certificate,
            timeout=plugin.request_timeout,
            allow_redirects=plugin.redirects,
            stream=True,
        ) as response:
            answer = _answer(response)
    except requests.ConnectTimeout:  # which is a Timeout, but the service has had no message
        return Retry(Failure.UNREACHABLE, "no connection in time", channel_down=True)
    except requests.Timeout:
        return Retry(Failure.TIMEOUT, "no answer in time", channel_down=True)
    except requests.RequestException as error:
        reason = shorten(redact(str(_innermost(error))), REASON_LIMIT)
        return Retry(Failure.UNREACHABLE, reason or "no connection", channel_down=True)
    if not 200 <= answer.status < 300:
        told = answer.body[: REASON_LIMIT * 4].decode("utf-8", "replace")
        reason = shorten(redact(f"error {answer.status}: {told}").rstrip(" :"), REASON_LIMIT)
        return by_status(answer.status, reason, place, retry_after(answer))
    if not answer.is_whole and post.complaint is not no_complaint:
        return Retry(Failure.TIMEOUT, f"the answer {answer.status} broke off before it said more", channel_down=True)
    return post.complaint(answer) or Delivered()


def _answer(response: Response) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(response.status_code, headers, *_beginning(response))


def _beginning(response: Response) -> tuple[bytes, bool]:
    """Of the body, and whether nothing is amiss with it: whoever sends without end is not listened to for ever.

    The status is known already, and what was accepted is not to be sent again for what follows it.
    """
    import requests

    body = b""
    try:
        for part in response.iter_content(_READ_AT_ONCE_BYTES):
            body += part
            if len(body) >= MOST_READ_BYTES:
                break
    except requests.RequestException:
        return body, False
    return body, True


def by_status(status: int, reason: str, place: str, after_seconds: float | None = None) -> Outcome:
    """What an HTTP status other than a success means."""
    match status:
        case 401 | 403 | 404 | 410:
            return refused(reason, place)
        case 429:
            return Retry(Failure.BUSY, reason, after_seconds, channel_down=True)
        case 503 if after_seconds is not None:  # it is the service that asks for time, whatever the message
            return Retry(Failure.BUSY, reason, after_seconds, channel_down=True)
        case _ if status >= 500 or status in _BUSY:
            return Retry(Failure.BUSY, reason, after_seconds)
        case _:
            return Permanent(Failure.REJECTED, reason)


def refused(reason: str, place: str) -> Permanent:
    """The URL does not, or not any more, give access."""
    told = f"{reason.rstrip(' .')}; correct its URL in {place}"
    if place == ROUTING_FILE:  # which is read again by itself, and a channel in it keeps its name
        return Permanent(Failure.AUTH, f"{told}, then windsock alerts replay")
    return Permanent(Failure.AUTH, f"{told}, {REPLAY}{CHANGED_URL}")


def retry_after(answer: Answer) -> float | None:
    """Seconds, from the header, or from the body as Discord and Telegram have it; None where nothing is asked for."""
    told: Any = answer.headers.get("retry-after")
    if told is None:
        body = answer.json()
        body = body if isinstance(body, dict) else {}
        parameters = body.get("parameters")
        told = body.get("retry_after", parameters.get("retry_after") if isinstance(parameters, dict) else None)
    seconds = _seconds(told)
    return None if seconds is None else min(max(0.0, seconds), LONGEST_WAIT_SECONDS)


def _seconds(told: Any) -> float | None:
    if isinstance(told, bool) or not isinstance(told, int | float | str):
        return None
    try:
        return float(told)
    except ValueError:
        return _until(str(told))


def _until(date: str) -> float | None:
    try:
        return (parsedate_to_datetime(date) - datetime.now(UTC)).total_seconds()
    except (ValueError, TypeError):
        return None


def _innermost(error: BaseException) -> BaseException:
    """The first cause has the words; what the layers above make of it repeats the whole address."""
    while cause := error.__cause__ or error.__context__:
        error = cause
    return error

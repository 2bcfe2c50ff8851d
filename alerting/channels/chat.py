"""Chat rooms, pagers, phones and webhooks: any URL that apprise understands.

The services that most people use get a format of their own (``services``), sent by ``http``. For the rest apprise
sends: it tells success from failure, and the HTTP status is read from what it logs. It keeps no response headers, so a
Retry-After cannot be honoured there, and back-off takes its place. apprise is imported on first use: it is heavy.

A URL that names several rooms is as many channels, each with deliveries of its own: a room that is gone keeps nothing
from the others, and one that is busy does not make them hear the same again.
"""

from __future__ import annotations

import difflib
import hashlib
import logging
import os
import re
import threading
import time
import warnings
from collections import OrderedDict
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from alerting.channels import Channel, Delivered, Failure, Message, Outcome, Permanent, Retry
from alerting.channels.http import CHANGED_URL, REASON_LIMIT, ROUTING_FILE, Post, by_status, send
from alerting.channels.services import PACES, format_of, webhook
from alerting.cleaning import one_line, shorten
from alerting.errors import ReceiverError
from alerting.remedies import REPLAY
from alerting.secrets import FROM_ENVIRONMENT

if TYPE_CHECKING:
    from apprise import AppriseAsset, NotifyBase

log = logging.getLogger(__name__)

CONCURRENCY: Final = 4
# A message of many requests, such as the ends of many incidents, leaves the channel to others in between, and ends long
# before the lease does.
SHARE_SECONDS: Final = 10.0
PAUSE_SECONDS: Final = 1.0
MOST_REMEMBERED: Final = 100
# Seconds to wait for a connection and for an answer, where the URL does not say (?cto=, ?rto=). apprise waits 4: a slow
# receiver then has taken the message, and is sent it once more.
_PATIENCE: Final = {"cto": 10, "rto": 20}
_TAG_LENGTH: Final = 6
SETTING: Final = "WINDSOCK__ALERTING__APPRISE_URLS"
# Webhooks of the receiver's own making: they take headers, and their host is no secret.
_WEBHOOKS: Final = {"json", "jsons", "xml", "xmls", "form", "forms"}
_SIGNED: Final = {"json", "jsons"}
_ROOMS: Final = "targets"  # what apprise calls them
_SCHEME: Final = re.compile(r"\s*([a-z0-9][a-z0-9+.-]*)://", re.IGNORECASE)
_STATUS: Final = re.compile(r"\berror[ =:]+(\d{3})\b")


def receivers(urls: Iterable[str]) -> list[Channel]:
    """One channel per URL and room, named after its scheme and a short hash: ``slack-3f2a9c``, ``slack-3f2a9c-2``.

    So what waits for a receiver still finds it when others are added, removed or moved; a URL that was changed is
    another receiver, and one given twice is one. One that cannot be used gets a channel too, which buries what it is
    given, with the reason: alerts for it stay visible and can be replayed, and the other receivers go on.
    """
    positions: dict[str, int] = {}
    for position, url in enumerate(urls, start=1):
        positions.setdefault(url.strip(), position)
    tags = _tags(positions)
    found: list[Channel] = []
    for url, position in positions.items():
        found += _receivers(url, f"{SETTING}: receiver {position}", tags[url])
    return found


def named_channel(
    name: str, url: str, hmac_secret: str = "", *, room: int = 0, environ: Mapping[str, str] = os.environ
) -> Channel:
    """The channel that alerting.yml calls ``name``, for one of the rooms that its URL names."""
    try:
        return Chat(url, f"channel {name}", name=name, hmac_secret=hmac_secret, room=room, environ=environ)
    except ReceiverError as error:
        log.error("%s", error)
        return Unusable(name, str(error))


def _tags(urls: Collection[str]) -> dict[str, str]:
    """The beginning of each URL's hash: long enough to tell these apart, too short to tell anything of the URL."""
    hashes = {url: hashlib.sha256(url.encode()).hexdigest() for url in urls}
    length = _TAG_LENGTH
    while len({text[:length] for text in hashes.values()}) < len(hashes):
        length += 1
    return {url: text[:length] for url, text in hashes.items()}


def _receivers(url: str, origin: str, tag: str) -> list[Channel]:
    try:
        return [Chat(url, origin, tag=tag, room=room) for room in range(check_url(url, origin))]
    except ReceiverError as error:
        log.error("%s", error)
        scheme = _SCHEME.match(url)
        return [Unusable(f"{scheme[1].lower()[:40] if scheme else 'receiver'}-{tag}", str(error))]


def check_url(url: str, origin: str, *, signed: bool = False) -> int:
    """How many channels it is: one for each room that it names, and one at the least.

    Raises ReceiverError with one sentence, which begins with ``origin`` and holds no more than the URL's scheme.
    """
    parts = _parse(url, origin)
    rooms = _rooms(parts, _instantiate(parts, origin))
    for room in rooms:
        _instantiate({**parts, _ROOMS: [room]}, origin)
    if signed:
        _require_signable(str(parts["schema"]), origin)
    return len(rooms) or 1


def of_room(name: str, room: int) -> str:
    """What the channel for this room is called; the first one has the name alone."""
    return f"{name}-{room + 1}" if room else name


def parts_of(url: str, origin: str, room: int = 0) -> dict[str, Any]:
    """What a URL says of one room, by apprise's names; ``schema`` is there always. Raises as ``check_url`` does."""
    parts = _parse(url, origin)
    rooms = _rooms(parts, _instantiate(parts, origin))
    return {**parts, _ROOMS: [rooms[room]]} if rooms else parts


def _rooms(parts: dict[str, Any], plugin: NotifyBase) -> list[Any]:
    """Those that its service is told one by one; none where there is one, or where one request tells all of them."""
    named = parts.get(_ROOMS)
    if not isinstance(named, list | tuple) or len(named) != len(plugin):
        return []
    return list(dict.fromkeys(named)) if len(named) > 1 else []


def plugin_of(url: str) -> NotifyBase:
    """What apprise makes of a URL. Raises ReceiverError as ``check_url`` does."""
    return _instantiate(_parse(url, "the URL"), "the URL")


class Unusable:
    """Stands in for a receiver whose URL is wrong."""

    concurrency = 1

    def __init__(self, name: str, reason: str) -> None:
        self.name = name
        self.reason = reason

    def send(self, message: Message) -> Outcome:  # noqa: ARG002
        return Permanent(Failure.CONFIG, f"{self.reason}; correct it, {REPLAY}{CHANGED_URL}")


class Chat:
    """One room of one apprise URL."""

    def __init__(
        self,
        url: str,
        origin: str,
        *,
        tag: str = "",
        name: str = "",
        hmac_secret: str = "",
        room: int = 0,
        environ: Mapping[str, str] = os.environ,
    ) -> None:
        self._origin = origin
        self._parts = parts_of(url, origin, room)
        self._plugin = _instantiate(self._parts, origin)
        scheme = str(self._parts["schema"])
        if scheme in PACES:
            self._plugin.request_rate_per_sec = PACES[scheme]
        self._webhook = scheme in _WEBHOOKS
        self._format = webhook.posts if scheme in _SIGNED else format_of(scheme, self._plugin)
        self._signs_with = hmac_secret or _hmac_of_url(self._parts, origin, environ)
        if self._signs_with:
            _require_signable(scheme, origin)
        self._secrets = _secrets(url, self._parts, webhook=self._webhook)
        self._accepted: OrderedDict[str, int] = OrderedDict()  # by the message's key: how many requests
        self.name = name or of_room(f"{scheme}-{tag}", room)
        self._place = ROUTING_FILE if name else SETTING
        # apprise spaces the messages of one plugin object as the service demands, but not across threads.
        self.concurrency = 1 if self._plugin.request_rate_per_sec else CONCURRENCY

    def send(self, message: Message) -> Outcome:
        """In the service's own format where there is one; the first request that is not accepted decides.

        A message of many requests goes on, when it is tried again, with the first one that was not accepted.
        """
        if self._format is None:
            return self._send_by_apprise(message)
        done = self._accepted.pop(message.key, 0)
        until = time.monotonic() + SHARE_SECONDS
        for number, post in enumerate(islice(self._format(self._plugin, message), done, None), start=done):
            if number > done and time.monotonic() >= until:
                outcome: Outcome = Retry(Failure.BUSY, "of its many requests the rest follows", PAUSE_SECONDS)
            else:
                outcome = send(self._signed(post), self._plugin, self._redact, self._place)
            if not isinstance(outcome, Delivered):
                self._remember(message.key, number)
                return outcome
        return Delivered()

    def _remember(self, key: str, accepted: int) -> None:
        """In memory: who forgets it sends again what its receiver knows by its key."""
        if accepted == 0:
            return
        self._accepted[key] = accepted
        if len(self._accepted) > MOST_REMEMBERED:
            self._accepted.popitem(last=False)

    def _signed(self, post: Post) -> Post:
        return webhook.signed(post, self._signs_with) if self._signs_with else post

    def _send_by_apprise(self, message: Message) -> Outcome:
        """One notification; the plugin converts plain text to what its service shows."""
        from apprise import Apprise, NotifyFormat, NotifyType

        client = Apprise(asset=self._plugin.asset)
        client.add(self._plugin_for(message))
        result = client.notify(
            title=message.subject,
            body=(message.full if self._webhook else "") or message.chat,
            body_format=NotifyFormat.TEXT,
            notify_type=NotifyType(message.sort),
            log_level=logging.WARNING,
        )
        return Delivered() if result else self._failed([entry.message for entry in result.logs()])

    def _plugin_for(self, message: Message) -> NotifyBase:
        if not self._webhook:
            return self._plugin
        headers = {**self._parts.get("headers", {}), webhook.KEY_HEADER: message.key}
        return _instantiate({**self._parts, "headers": headers}, self._origin)

    def _failed(self, logged: list[str]) -> Outcome:
        told = " ".join(logged)
        reason = shorten(self._redact(told), REASON_LIMIT) or "not accepted"
        status = _STATUS.search(told)
        if status is None:
            return Retry(Failure.UNREACHABLE, reason, channel_down=True)
        return by_status(int(status[1]), reason, self._place)

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return one_line(text)


def _hmac_of_url(parts: dict[str, Any], origin: str, environ: Mapping[str, str]) -> str:
    """The secret that ``?hmac=`` gives, or the environment variable that it names: ``?hmac=env:NAME``."""
    told = str(parts.get("qsd", {}).get("hmac") or "")
    if not told.startswith(FROM_ENVIRONMENT):
        return told
    name = told.removeprefix(FROM_ENVIRONMENT)
    secret = environ.get(name, "")
    if not secret:
        raise ReceiverError(f"{origin} signs with the environment variable {name}, which is not set; set it")
    return secret


def _require_signable(scheme: str, origin: str) -> None:
    if scheme not in _SIGNED:
        raise ReceiverError(f"{origin} cannot be signed: an HMAC secret is for json:// and jsons://, not {scheme}://")


class _Discretion(logging.Filter):
    """Keeps whole URLs out of every log: apprise writes them below WARNING, and at any level while it reads one."""

    def __init__(self) -> None:
        super().__init__()
        self.reading = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.levelno >= logging.WARNING and not getattr(self.reading, "a_url", False)

    @contextmanager
    def while_reading(self) -> Iterator[None]:
        self.reading.a_url = True
        try:
            yield
        finally:
            self.reading.a_url = False


_discretion: Final = _Discretion()


def _apprise() -> Any:
    """apprise's plugins, its log and urllib3's kept to themselves."""
    told = logging.getLogger("apprise")
    if told.propagate:
        told.propagate = False
        told.addFilter(_discretion)
        told.addHandler(logging.NullHandler())  # or else warnings would go to stderr
        logging.getLogger("urllib3").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # Loading the plugins imports modules that Python deprecates; that is not our users' concern.
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise import plugins

        registry: Any = plugins.N_MGR
        registry.schemas()
    return plugins


def _asset() -> AppriseAsset:
    from apprise import AppriseAsset

    # A receiver that sends a message elsewhere could send it into the network that we are in; ?redirect=yes allows it.
    return AppriseAsset(
        app_id="Windsock", app_desc="Windsock", async_mode=False, secure_logging=True, http_redirects=False
    )


def _parse(url: str, origin: str) -> dict[str, Any]:
    plugins = _apprise()
    with _discretion.while_reading():
        parts = plugins.url_to_dict(url.strip())
    if parts is None:
        raise ReceiverError(_complaint(url, origin, plugins.N_MGR))
    # Better a shortened message than one that the service refuses for its length.
    parts.setdefault("overflow", "truncate")
    result: dict[str, Any] = parts
    return result


def _instantiate(parts: dict[str, Any], origin: str) -> NotifyBase:
    from apprise import Apprise

    with _discretion.while_reading():
        plugin = Apprise.instantiate({**_PATIENCE, **parts}, asset=_asset())
    if plugin is None:
        raise ReceiverError(_incomplete(parts["schema"], origin, _apprise().N_MGR))
    return plugin


def _complaint(url: str, origin: str, registry: Any) -> str:
    found = _SCHEME.match(url)
    if found is None:
        return f"{origin} has no scheme; an apprise URL begins with one, such as slack:// or json://"
    scheme = found[1].lower()
    if scheme in registry:
        return _incomplete(scheme, origin, registry)
    if scheme in ("http", "https"):
        meant = "json" if scheme == "http" else "jsons"
        return f"{origin} begins with {scheme}://; for a webhook write {meant}://"
    close = difflib.get_close_matches(scheme, sorted(registry.schemas()), n=1)
    hint = f", did you mean {close[0]}://?" if close else "; see `apprise --details` for those there are"
    return f"{origin} has the unknown scheme {scheme}://{hint}"


def _incomplete(scheme: str, origin: str, registry: Any) -> str:
    return (
        f"{origin} cannot be used, because a part of its {scheme}:// URL is missing or wrong; "
        f"see {registry[scheme].setup_url}"
    )


def _secrets(url: str, parts: dict[str, Any], *, webhook: bool) -> list[str]:
    """Every part of the URL that a log line or an error could repeat, longest first; all but a webhook's host."""
    rest = url.partition("://")[2]
    words = {rest, url.strip(), *re.split(r"[/?&=@:#+,;]+", rest)}
    if webhook:
        words -= {str(parts.get("host")), str(parts.get("port"))}
    words |= {unquote(word) for word in words}
    return sorted((word for word in words if len(word) >= 4), key=len, reverse=True)

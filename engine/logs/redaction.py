"""Masks secrets in text that leaves a process: logs, alerts, pages.

Three things are masked: values known to be secret, in the forms in which programs print them, the password in
anything that looks like a URL, and what stands behind "bearer", or "basic" in a header. Each is looked for in the text
as it came, and what overlaps is masked as one: else the first that is masked would take the head of another, whose tail
were left to read.

Work is linear in the length of the text whatever the text is: the text comes from tasks, and a slow pattern would let
one of them stop its supervisor.

A caller that reads in pieces must redact whole lines; a secret cut in two is not recognised.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from alerting.secrets import Secrets, secrets_of
from engine.config.masking import MASK

if TYPE_CHECKING:
    from engine.config import Settings

Span: TypeAlias = tuple[int, int]

# A shorter value would mask ordinary words and numbers, and be no secret worth the name.
MINIMUM_LENGTH = 5
# Parts of a chat service's URL: shorter ones are hosts, channels and numbers more often than tokens.
MINIMUM_TOKEN_LENGTH = 16

_SECRET_NAME = re.compile(
    r"PASSWORD|PASSWD|PASSPHRASE|SECRET|TOKEN|CREDENTIAL|API_?KEY|ACCESS_?KEY|PRIVATE_?KEY|AUTH_?KEY", re.IGNORECASE
)
_PLACE_NAME = re.compile(r"_(FILE|PATH|DIR|HOST|PORT)$", re.IGNORECASE)
_ORDINARY = frozenset(
    {"false", "never", "always", "disabled", "enabled", "default", "required", "optional", "bearer", "basic"}
)
# Each part excludes the slash that the next match needs, so that no character is looked at for two matches.
_URL_PASSWORD = re.compile(r"://[^\s/:@]*:([^\s/]+)@")
# Eight characters at the least, one of them a digit: "bearer certificate" is no token. It begins with letters and not
# with a boundary, so that the search skips everything else quickly.
_BEARER = re.compile(r"[Bb](?:earer|EARER)[ :=]{1,3}(?=[A-Za-z._~+/=-]{0,60}[0-9])([A-Za-z0-9._~+/=-]{8,})")
# User and password in base64. "Basic" is an ordinary word, so the name of its header must stand before it.
# In small letters, or in those of an environment (HTTP_AUTHORIZATION): two patterns, for each is searched quickly.
_BASIC = tuple(
    re.compile(rf"{name}[^A-Za-z0-9]{{1,6}}[Bb](?:asic|ASIC) {{1,3}}([A-Za-z0-9+/=_-]{{4,}})")
    for name in ("uthorization", "UTHORIZATION")
)
_TOKEN = re.compile(rf"[^/?&=@:#,\s]{{{MINIMUM_TOKEN_LENGTH},}}")
_FORMS = (_BEARER, *_BASIC, _URL_PASSWORD)


class Redactor:
    """Built once from the secrets, then used for every text. Safe to share between threads and to fork."""

    def __init__(self, secrets: Iterable[str]) -> None:
        forms = {form for secret in secrets for form in _printed_forms(secret)}
        longest_first = sorted(forms, key=lambda form: (-len(form), form))
        self._secrets = re.compile("|".join(map(re.escape, longest_first))) if forms else None
        self._longest = max(map(len, forms), default=0)

    @classmethod
    def from_settings(cls, settings: Settings, environ: Mapping[str, str] | None = None) -> Redactor:
        """For what the settings, alerting.yml and the environment (this process's by default) hold secret now."""
        environ = os.environ if environ is None else environ
        return cls([*setting_secrets(settings, environ), *environment_secrets(environ)])

    def redact(self, text: str) -> str:
        """`text` with every secret masked."""
        spans = [*self._known(text), *(span for form in _FORMS for span in _spans(form, text))]
        if not spans:
            return text
        masked = _mask(text, spans)
        return _mask(masked, _spans(_URL_PASSWORD, masked))  # again: a slash in what is masked now hid one

    def _known(self, text: str) -> Iterator[Span]:
        """Where known secrets stand, also such as begin within another one: what overlaps is one span.

        So a text that holds little else takes no more memory than another. What begins so early in a secret that even
        the longest would end within it is not looked for.
        """
        if self._secrets is None:
            return
        begin = end = 0
        found = self._secrets.search(text)
        while found is not None:
            start, stop = found.span()
            if start >= end:
                if end:
                    yield begin, end
                begin = start
            end = max(end, stop)
            found = self._secrets.search(text, max(start + 1, stop + 1 - self._longest))
        if end:
            yield begin, end


def _spans(pattern: re.Pattern[str], text: str) -> Iterator[Span]:
    return (found.span(1) for found in pattern.finditer(text))


def _mask(text: str, spans: Iterable[Span]) -> str:
    """One mask for all that overlaps."""
    parts, end = [], 0
    for start, stop in sorted(spans):
        if start >= end:
            parts += [text[end:start], MASK]
        end = max(end, stop)
    return "".join([*parts, text[end:]])


def setting_secrets(settings: Settings, environ: Mapping[str, str]) -> Iterator[str]:
    """The mail password, Grafana's token, the metastore's password, and channels' URLs with the tokens in them."""
    yield settings.smtp.smtp_password
    yield settings.grafana.token
    yield from _url_password(settings.database.sql_alchemy_conn)
    yield settings.alerting.webhook_token
    channels = channel_secrets(settings, environ)
    yield from channels.keys
    for url in channels.urls:
        yield from url_secrets(url)


def channel_secrets(settings: Settings, environ: Mapping[str, str]) -> Secrets:
    """What the settings and alerting.yml say of channels."""
    alerting = settings.alerting
    return secrets_of(alerting.config_file, (*alerting.apprise_urls, alerting.heartbeat_url), environ)


def url_secrets(url: str) -> Iterator[str]:
    """All of a chat service's URL, its password, and the tokens in it."""
    _, _, rest = url.partition("://")
    yield rest
    yield from _url_password(url)
    yield from (part for part in _TOKEN.findall(rest) if "." not in part)


def environment_secrets(environ: Mapping[str, str]) -> Iterator[str]:
    """Values of variables whose names say that they are secret; what any URL or JSON object among them holds secret."""
    for name, value in environ.items():
        yield from _url_password(value)
        yield from _told_by_key(value)
        if _says_secret(name) and value.lower() not in _ORDINARY:
            yield value


def _url_password(url: str) -> Iterator[str]:
    """The password between the first colon and the last ``@``, however it is encoded."""
    _, separator, rest = url.partition("://")
    userinfo, at, _ = rest.rpartition("@")
    if separator and at:
        yield userinfo.partition(":")[2]


def redact_by_environment(text: str) -> str:
    """Mask what this process's environment holds secret, where that is asked for seldom."""
    return Redactor(environment_secrets(os.environ)).redact(text)


def _told_by_key(value: str) -> Iterator[str]:
    """Values in a JSON object, or in the query of a URL, whose keys say that they are secret: Airflow's connections."""
    if value.lstrip().startswith("{"):
        with suppress(ValueError, RecursionError):
            yield from _in_object(json.loads(value))
    elif "://" in value:
        for key, text in parse_qsl(value.partition("?")[2]):
            yield from _in_object({key: text})


def _in_object(value: object, *, is_secret: bool = False) -> Iterator[str]:
    """Texts and numbers under a key that says so, at any depth; Airflow's ``extra`` is JSON in a text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _in_object(item, is_secret=is_secret or _says_secret(str(key)))
    elif isinstance(value, list):
        for item in value:
            yield from _in_object(item, is_secret=is_secret)
    elif isinstance(value, str) and not is_secret:
        yield from _told_by_key(value)
    elif isinstance(value, str | int | float) and is_secret and str(value).lower() not in _ORDINARY:
        yield str(value)


def _says_secret(name: str) -> bool:
    return bool(_SECRET_NAME.search(name)) and not _PLACE_NAME.search(name)


def _printed_forms(secret: str) -> Iterator[str]:
    """The secret as it is, each of its lines, and as URLs, JSON and Python's repr() write it."""
    for text in {secret.strip(), unquote(secret.strip()), *map(str.strip, secret.splitlines())}:
        escaped = text.replace("\\", "\\\\")
        # A variable that is not UTF-8 comes with surrogates, which must not end the process that would mask it.
        encoded = [quote(text, "", errors="surrogatepass"), quote(text, errors="surrogatepass")]
        encoded.append(quote_plus(text, errors="surrogatepass"))
        for form in (text, *encoded, escaped, escaped.replace('"', '\\"')):
            if len(form) >= MINIMUM_LENGTH:
                yield form

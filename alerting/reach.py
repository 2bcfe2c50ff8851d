"""Whether receivers can be reached from here, without sending anybody anything: `windsock alerts check --connect`.

A connection is opened, where it is encrypted the certificate is checked, and a mail server is greeted. Nothing is said
that would tell a receiver apart from another: no path, no token and no password leaves this machine.
"""

from __future__ import annotations

import smtplib
import socket
import ssl
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

from alerting.channels.chat import plugin_of
from alerting.channels.smtp import SmtpConfig
from alerting.errors import ReceiverError

PATIENCE_SECONDS: Final = 5.0
# Where apprise's plugin keeps the address of its service; and what keeps it nowhere.
_ADDRESSES: Final = ("webhook_url", "notify_url", "cloud_notify_url", "api_url")
_SERVICES: Final = {"pagerduty": "https://events.pagerduty.com"}
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True)
class Address:
    """Where a receiver listens."""

    host: str
    port: int
    tls: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def address_of(url: str) -> Address | None:
    """Where an apprise URL leads to; None where only its service knows. Raises ReceiverError for a wrong one.

    A URL's host may be a token, so it counts only where apprise says that it is a host.
    """
    plugin: Any = plugin_of(url)
    hosted = getattr(plugin, "mode", None) == "cloud"  # where a service is somebody's own as well as everybody's
    if not hosted and any("{host}" in template for template in plugin.templates):
        return _own_host(plugin)
    fixed = next((text for name in _ADDRESSES if isinstance(text := getattr(plugin, name, None), str)), None)
    return _of_web(fixed or _SERVICES.get(url.partition("://")[0].strip().lower(), ""))


def _own_host(plugin: Any) -> Address | None:
    mail_host = getattr(plugin, "smtp_host", None)
    if mail_host:
        return Address(str(mail_host), int(plugin.port or 25))
    if not plugin.host:
        return None
    return Address(str(plugin.host), int(plugin.port or (443 if plugin.secure else 80)), bool(plugin.secure))


def _of_web(url: str) -> Address | None:
    parts = urlsplit(url)
    if parts.hostname is None or parts.scheme not in _PORTS:
        return None
    return Address(parts.hostname, parts.port or _PORTS[parts.scheme], parts.scheme == "https")


def why_not(address: Address) -> str | None:
    """Why nobody answers there; None where somebody does."""
    try:
        with socket.create_connection((address.host, address.port), PATIENCE_SECONDS) as connection:
            if address.tls:
                context = ssl.create_default_context()
                with context.wrap_socket(connection, server_hostname=address.host):
                    pass
    except OSError as error:
        return _reason(error)
    return None


def why_no_mail(config: SmtpConfig) -> str | None:
    """Why the mail server would take nothing from us, as far as a greeting shows; None where it answers well."""
    try:
        with _greeted(config) as client:
            code, _ = client.ehlo()
            if config.starttls and not config.ssl:
                client.starttls(context=ssl.create_default_context())
            return None if code == 250 else f"it answers EHLO with {code}"
    except (smtplib.SMTPException, OSError) as error:
        return _reason(error)


def _greeted(config: SmtpConfig) -> smtplib.SMTP:
    ours = socket.gethostname() or "localhost"
    if config.ssl:
        context = ssl.create_default_context()
        return smtplib.SMTP_SSL(config.host, config.port, ours, timeout=PATIENCE_SECONDS, context=context)
    return smtplib.SMTP(config.host, config.port, ours, timeout=PATIENCE_SECONDS)


def _reason(error: Exception) -> str:
    match error:
        case ssl.SSLCertVerificationError():
            return f"nobody vouches for its certificate: {error.verify_message}"
        case socket.gaierror():
            return "its name does not resolve"
        case TimeoutError():
            return f"no answer within {PATIENCE_SECONDS:g} s"
        case OSError(strerror=str(words)):
            return words.lower()
        case _:
            return f"{type(error).__name__}: {error}"


@dataclass(frozen=True)
class Reached:
    """One channel, where it was looked for, and why it was not found: None where it answered, or was not tried."""

    name: str
    where: str | None  # None: only its service knows, so it was not tried
    why: str | None = None

    def __str__(self) -> str:
        if self.where is None:
            return f"{self.name}: not tried, for only a message would find its service"
        return f"{self.name}: {self.where} answers" if self.why is None else f"{self.name}: {self.where}, {self.why}"


def reach_all(channels: Iterable[tuple[str, str]], mail: SmtpConfig | None) -> Iterator[Reached]:
    """Tries each ``(name, URL)``, and the mail server where mail is sent at all."""
    for name, url in channels:
        yield _reached(name, url)
    if mail is not None and not mail.host:
        yield Reached("email", "nowhere", "mail is off: set WINDSOCK__SMTP__SMTP_HOST")
    elif mail is not None:
        yield Reached("email", f"{mail.host}:{mail.port}", why_no_mail(mail))


def _reached(name: str, url: str) -> Reached:
    try:
        address = address_of(url)
    except ReceiverError as error:
        return Reached(name, "a wrong URL", str(error))
    if address is None:
        return Reached(name, None)
    return Reached(name, str(address), why_not(address))

"""A mail as bytes.

Its own headers are folded and encoded by the standard library. What is below them has the same few shapes in each mail,
and is put together here: the library's objects parse every header of every part several times, which takes longer than
all else that a mail needs. Everything is seven bits wide, so no server need be asked whether it takes more.
"""

from __future__ import annotations

import base64
import binascii
import secrets
from collections.abc import Sequence
from email.headerregistry import HeaderRegistry
from email.message import EmailMessage
from email.policy import SMTP, EmailPolicy
from email.utils import format_datetime, parseaddr
from functools import cache, lru_cache
from typing import Any, Final

from alerting.channels import Attachment, Message
from alerting.cleaning import one_line


class _Registry(HeaderRegistry):
    """Makes the class of a header's name once, and not for each header."""

    @cache  # noqa: B019 - there is one registry, and few names
    def __getitem__(self, name: str) -> Any:
        return super().__getitem__(name)


_POLICY: Final = SMTP.clone(header_factory=_Registry())
_POLICY_UTF8: Final = _POLICY.clone(utf8=True)


def compose(message: Message, recipients: Sequence[str], mail_from: str) -> bytes:
    """The mail. Its Message-ID is the same on every attempt; References files a run's mails together.

    With an address beyond ASCII its headers are so too, and its server must offer SMTPUTF8.
    """
    policy = _POLICY if is_ascii([sender_of(mail_from), *recipients]) else _POLICY_UTF8
    return _headers(message, recipients, mail_from, policy) + _body(message)


def sender_of(mail_from: str) -> str:
    """The address in it, without a name."""
    return parseaddr(one_line(mail_from))[1]


def is_ascii(addresses: Sequence[str]) -> bool:
    """Whether a server needs no SMTPUTF8 to take them."""
    return all(address.isascii() for address in addresses)


def _headers(message: Message, recipients: Sequence[str], mail_from: str, policy: EmailPolicy[EmailMessage]) -> bytes:
    domain = _domain(mail_from)
    root = f"<run.{message.thread[:40]}@{domain}>"
    head = EmailMessage(policy=policy)
    head["From"] = one_line(mail_from)
    head["To"] = ", ".join(recipients)
    head["Subject"] = one_line(message.subject)
    head["Date"] = format_datetime(message.occurred_at)
    head["Message-ID"] = f"<{message.key[:40]}@{domain}>"
    head["In-Reply-To"] = root
    head["References"] = root
    head["Auto-Submitted"] = "auto-generated"  # out-of-office robots keep quiet
    head["X-Windsock-Key"] = message.key
    head["MIME-Version"] = "1.0"
    return _folded(head)


def _folded(head: EmailMessage) -> bytes:
    return b"".join(head.policy.fold_binary(name, value) for name, value in head.raw_items())


@lru_cache(maxsize=64)
def _domain(mail_from: str) -> str:
    try:
        return sender_of(mail_from).rpartition("@")[2].encode("idna").decode() or "localhost"
    except UnicodeError:
        return "localhost"


def _body(message: Message) -> bytes:
    """A picture belongs to the page, which shows it by its name; anything else is a file beside the text."""
    pictures = [_attached("inline", attachment) for attachment in message.attachments if attachment.alt]
    files = [_attached("attachment", attachment) for attachment in message.attachments if not attachment.alt]
    page = _together("related", [_text("html", message.html), *pictures])
    return _together("mixed", [_together("alternative", [_text("plain", message.text), page]), *files])


def _together(subtype: str, parts: Sequence[bytes]) -> bytes:
    """One part of several; one is itself. No text can hold the boundary, for nobody can foresee it."""
    if len(parts) == 1:
        return parts[0]
    boundary = secrets.token_hex(16).encode()
    head = b'Content-Type: multipart/%b;\r\n boundary="%b"\r\n\r\n' % (subtype.encode(), boundary)
    return head + b"".join(b"--%b\r\n%b\r\n" % (boundary, part) for part in parts) + b"--%b--\r\n" % boundary


def _text(subtype: str, text: str) -> bytes:
    """Quoted where most of it can be read so, or else as base64."""
    data = b"".join(line + b"\r\n" for line in text.encode("utf-8", "replace").splitlines())
    quoted = binascii.b2a_qp(data, istext=True)
    encoding, body = (b"quoted-printable", quoted)
    if len(quoted) > len(data) * 4 / 3:
        encoding, body = b"base64", _base64(data)
    head = b'Content-Type: text/%b; charset="utf-8"\r\nContent-Transfer-Encoding: %b\r\n\r\n'
    return head % (subtype.encode(), encoding) + body


def _attached(disposition: str, attachment: Attachment) -> bytes:
    head = _head_of_attached(disposition, attachment.name, attachment.type)
    return head + b"\r\n" + _base64(attachment.content)


@lru_cache(maxsize=64)  # the files of all mails have the same few names
def _head_of_attached(disposition: str, name: str, media_type: str) -> bytes:
    head = EmailMessage(policy=_POLICY)
    charset = {"charset": "utf-8"} if media_type.startswith("text/") else {}
    head.add_header("Content-Type", media_type, **charset)
    head.add_header("Content-Disposition", disposition, filename=name)
    head["Content-Transfer-Encoding"] = "base64"
    if disposition == "inline":
        head["Content-ID"] = f"<{name}>"
    return _folded(head)


def _base64(data: bytes) -> bytes:
    return base64.encodebytes(data).replace(b"\n", b"\r\n")

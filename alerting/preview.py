"""A message as somebody would get it: for `windsock alerts render`."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from alerting.channels import Message
from alerting.channels.services import PAYLOADS


def page(message: Message) -> str:
    """The mail's page, with its pictures in it."""
    shown = message.html
    for attachment in message.attachments:
        data = base64.b64encode(attachment.content).decode()
        shown = shown.replace(f"cid:{attachment.name}", f"data:{attachment.type};base64,{data}")
    return shown


def _mail(message: Message) -> str:
    return f"Subject: {message.subject}\n\n{message.text}"


def _chat(message: Message) -> str:
    return f"{message.title}\n\n{message.chat}\n"


def _payload(make: Callable[[Message], object]) -> Callable[[Message], str]:
    return lambda message: msgspec.json.format(msgspec.json.encode(make(message)), indent=2).decode() + "\n"


FORMATS: Final[Mapping[str, Callable[[Message], str]]] = {
    "text": _mail,
    "html": page,
    "chat": _chat,
    **{name: _payload(make) for name, make in PAYLOADS.items()},
}

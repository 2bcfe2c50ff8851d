"""A webhook of the receiver's own making, ``json://`` and ``jsons://``: apprise's fields, and all that is known.

Where there is a secret, the header ``X-Windsock-Signature: t=SECONDS,v1=HEX`` says who sent it: HEX is HMAC-SHA-256
with the secret over ``SECONDS.BODY``, the body as it was sent. A receiver compares in constant time and refuses an old
``t``. ``Idempotency-Key`` is the same for every attempt of one message.
"""

from __future__ import annotations

import hashlib
import hmac
import time
from collections.abc import Iterable
from dataclasses import replace
from typing import Any, Final

from alerting.channels import Message
from alerting.channels.http import Post, json_post

KEY_HEADER: Final = "Idempotency-Key"
SIGNATURE_HEADER: Final = "X-Windsock-Signature"
_FIELDS: Final = ("version", "title", "message", "attachments", "type")


def posts(plugin: Any, message: Message) -> Iterable[Post]:
    """One request, with the headers, the method and the fields that the URL asks for."""
    at = f"{'https' if plugin.secure else 'http'}://{plugin.host}"
    port = f":{plugin.port}" if isinstance(plugin.port, int) else ""
    headers = {**plugin.headers, KEY_HEADER: message.key}
    auth = (plugin.user, plugin.password or "") if plugin.user else None
    body = _renamed(payload(message), plugin.payload_extras)
    options = {"params": plugin.params, "auth": auth, "method": plugin.method}
    yield json_post(f"{at}{port}{plugin.fullpath}", body, headers, **options)


def signed(post: Post, secret: str, moment: float | None = None) -> Post:
    """The same request with its signature."""
    seconds = str(int(time.time() if moment is None else moment))
    proof = hmac.new(secret.encode(), f"{seconds}.".encode() + post.body, hashlib.sha256).hexdigest()
    return replace(post, headers={**post.headers, SIGNATURE_HEADER: f"t={seconds},v1={proof}"})


def payload(message: Message) -> dict[str, Any]:
    """The body."""
    return {
        "version": "1.0",
        "title": message.subject,
        "message": message.full or message.chat,
        "attachments": [],
        "type": message.sort,
        "key": message.key,
        "episode": message.episode,
        "ended": list(message.ended),
        "status": "resolved" if message.resolved else "firing" if message.failed else "notice",
        "kind": message.kind,
        "severity": message.severity,
        "occurred_at": message.occurred_at.isoformat(),
        "sentence": message.sentence,
        "error": message.error,
        "event": dict(message.about),
        "facts": {fact.label: fact.value for fact in message.facts},
        "names": {listing.title: [*listing.names] for listing in message.listings},
        "sections": [{"title": section.title, "lines": [*section.lines]} for section in message.sections],
        "links": [{"label": link.label, "url": link.url} for link in message.links],
        "log": list(message.log),
    }


def _renamed(payload: dict[str, Any], asked: dict[str, str]) -> dict[str, Any]:
    """apprise's ``:field=name``: a field of its own gets another name, or goes where the name is empty."""
    for name, value in asked.items():
        if name not in _FIELDS:
            payload[name] = value
        elif value:
            payload[value] = payload.pop(name)
        else:
            payload.pop(name)
    return payload

"""Whether a running process was started with these settings, told without telling them.

A fingerprint covers secrets, and it is kept where others may read it. So it is made like the hash of a password: with
a salt, and slowly (about 50 ms).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Collection
from typing import Final

from engine.config.sections import Settings, all_keys

DELIVERY: Final = ("alerting", "smtp", "grafana")  # the sections that decide whom an alert reaches
_SALT_BYTES: Final = 16


def fingerprint(settings: Settings, sections: Collection[str] = ()) -> str:
    """The fingerprint of these sections, or of all settings; another one each time."""
    salt = os.urandom(_SALT_BYTES)
    return f"{salt.hex()}:{_digest(settings, sections, salt)}"


def matches(told: str, settings: Settings, sections: Collection[str] = ()) -> bool:
    """Whether `told` is a fingerprint of settings like these; also where there is none, being from another version."""
    salt, _, digest = told.partition(":")
    if len(salt) != 2 * _SALT_BYTES or not digest:
        return True
    return hmac.compare_digest(_digest(settings, sections, bytes.fromhex(salt)), digest)


def _digest(settings: Settings, sections: Collection[str], salt: bytes) -> str:
    values = {
        key.dotted: str(getattr(getattr(settings, key.section), key.name))
        for key in all_keys()
        if not sections or key.section in sections
    }
    return hashlib.scrypt(repr(sorted(values.items())).encode(), salt=salt, n=2**14, r=8, p=1, dklen=16).hex()

"""How secret settings are shown."""

from __future__ import annotations

import re

MASK = "********"
_SECRET_QUERY = re.compile(r"([?&](?:password|passwd|sslpassword|secret|token)=)[^&#]*", re.IGNORECASE)
_USER = re.compile(r"(?<=://)[^/]*@")


def hide(value: str) -> str:
    """The mask alone; an empty value stays empty, so that a person sees that none is set."""
    return MASK if value else ""


def hide_password(url: str) -> str:
    """`url` with its password masked.

    Everything from the first colon after the scheme to the last ``@`` counts as password, because a password
    that somebody forgot to percent-encode may hold any character.
    """
    scheme, separator, rest = url.partition("://")
    if not separator:
        return hide(url)
    userinfo, at, host = rest.rpartition("@")
    user, colon, _ = userinfo.partition(":")
    shown = f"{user}{colon}{MASK if colon else ''}{at}{host}"
    return _SECRET_QUERY.sub(rf"\1{MASK}", f"{scheme}{separator}{shown}")


def hide_user(url: str) -> str:
    """`url` with what stands before its host masked: a user, a token, or a user and a password."""
    return _USER.sub(f"{MASK}@", url, count=1)


def scheme_only(url: str) -> str:
    """``slack://********``: in a chat service's URL any part may be a token. Nothing stays nothing, as with `hide`."""
    scheme, separator, _ = url.partition("://")
    return f"{scheme}://{MASK}" if separator else hide(url)

"""Settings: one validated, immutable object, read once at start.

Each key comes from the first of these that names it: the environment (``WINDSOCK__SECTION__KEY``),
``$WINDSOCK_HOME/windsock.toml``, the default in :mod:`engine.config.sections`. A name that does not exist or
a value that is not allowed is refused; :class:`ConfigError` tells all of them together.
The package stays slim (standard library and msgspec), because attempt processes import it too.
"""

from __future__ import annotations

from engine.config.home import prepare_home
from engine.config.loading import ConfigError, find_home, load, suspicions
from engine.config.reference import Setting, describe, reference_page
from engine.config.sections import Settings

__all__ = [
    "ConfigError",
    "Setting",
    "Settings",
    "describe",
    "find_home",
    "load",
    "prepare_home",
    "reference_page",
    "suspicions",
]

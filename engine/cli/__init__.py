"""The ``windsock`` command. Each sub-command's module is imported when it is called, so that ``--help`` is instant."""

from __future__ import annotations

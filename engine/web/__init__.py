"""The web server: pages for people, ``/health`` for machines.

One middleware (``guard``) stands before every route: it wants a session unless the path is on its short public list,
and a matching origin and CSRF token for whatever writes. Pages read with a handful of indexed statements
(``queries``); the two things they write, a run and a DAG's pause, go through the metastore's transitions.
"""

from __future__ import annotations

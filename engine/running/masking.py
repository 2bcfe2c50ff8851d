"""What the code of a DAG file tells by itself, ``alerting.notify`` with an apprise URL, is masked in its process."""

from __future__ import annotations

from contextlib import AbstractContextManager

from alerting import notice


def masking() -> AbstractContextManager[None]:
    """Inside, it holds back what this process's environment holds secret."""
    return notice.masking(_mask)


def _mask(text: str) -> str:
    from engine.logs.redaction import redact_by_environment  # seldom asked for; each attempt's process would pay

    return redact_by_environment(text)

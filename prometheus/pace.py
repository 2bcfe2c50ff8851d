"""How fast time goes in the rules: tests hurry it, so that a hold of minutes lasts seconds.

A rule's spans stand in four places, and the pace reaches each of them: its hold, its group's interval, the ranges
and offsets of its PromQL (``[10m]``, ``[1d:5m]``, ``offset 10m``), and ages that it compares with, which a rule
writes as ``seconds(10m)``. At pace 1 the last becomes the number 600 and all others stay as they are written.

How long a piece of work takes is no span: a read of the database lasts as long as it does, however fast the rules'
time goes. What a rule allows it, written as ``work(5s)``, is shortened only by a test that makes work slow, and by a
factor of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from prometheus.spec import duration

_UNITS: Final = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}
_SPAN: Final = r"\d+[smhd]"
_RANGE: Final = re.compile(rf"\[({_SPAN})(?::({_SPAN}))?\]")
_OFFSET: Final = re.compile(rf"\boffset ({_SPAN})\b")
_SECONDS: Final = re.compile(rf"\bseconds\(({_SPAN})\)")
_WORK: Final = re.compile(rf"\bwork\(({_SPAN})\)")


@dataclass(frozen=True)
class Pace:
    """Every span is divided by `faster`, but no range becomes shorter than `shortest_range`.

    A range needs two samples at least, so it is some scrape intervals long whatever the pace. What work may take is
    divided by `quicker_work`.
    """

    faster: float = 1.0
    shortest_range: timedelta = timedelta(0)
    quicker_work: float = 1.0

    def span(self, span: timedelta) -> timedelta:
        return span / self.faster

    def expression(self, text: str) -> str:
        """The PromQL that Prometheus reads."""
        text = _RANGE.sub(lambda found: f"[{':'.join(self._range(part) for part in found.groups() if part)}]", text)
        text = _OFFSET.sub(lambda found: f"offset {self._range(found[1])}", text)
        text = _WORK.sub(lambda found: f"{(span_of(found[1]) / self.quicker_work).total_seconds():g}", text)
        return _SECONDS.sub(lambda found: f"{self.span(span_of(found[1])).total_seconds():g}", text)

    def _range(self, text: str) -> str:
        span = span_of(text)
        paced = max(self.span(span), min(self.shortest_range, span))
        return text if paced == span else duration(paced)


def span_of(text: str) -> timedelta:
    """``10m`` as a timedelta."""
    return timedelta(**{_UNITS[text[-1]]: int(text[:-1])})


NORMAL: Final = Pace()

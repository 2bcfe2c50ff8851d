"""What comes of a message besides the message: its receiver's duties, and when those of another do as well.

Two routes may lead an alert to one mail address or channel by way of two receivers. One message is enough there, as
long as nothing is lost with the other: nobody misses a fallback, an escalation, a repetition or the end of the trouble.
"""

from __future__ import annotations

from typing import Final

from alerting.kinds import KINDS, WITH_END, EventKind
from alerting.routing import Escalation, Fallback, Receiver

_NONE: Final = Receiver("")  # where the settings decided, or alerting.yml has no such receiver any more


def covers(receiver: Receiver | None, other: Receiver | None, kind: EventKind) -> bool:
    """Whether an event of this kind that is told to ``receiver`` need not be told to ``other`` at the same address.

    What does not come of such an event makes no difference: only trouble escalates, and not everything has an end.
    """
    one, two = receiver or _NONE, other or _NONE
    known = KINDS[kind]
    has_end = kind in WITH_END
    return (
        _no_later(one.fallback, two.fallback)
        and (not known.trouble or _no_later(one.escalate, two.escalate))
        and (not has_end or _as_often(one, two))
        and (not (has_end or known.within in WITH_END) or one.send_resolved or not two.send_resolved)
    )


def _no_later(one: Fallback | Escalation | None, two: Fallback | Escalation | None) -> bool:
    """Whether the first one reaches whom the second one reaches, and as soon."""
    return two is None or (one is not None and one.to == two.to and one.after <= two.after)


def _as_often(one: Receiver, two: Receiver) -> bool:
    if two.repeat_interval is None:
        return True
    return one.repeat_interval is not None and one.repeat_interval <= two.repeat_interval

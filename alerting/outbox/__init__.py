"""The outbox's verbs: record, route, lease, then one of confirm, retry, release and bury; and replay.

Each verb is a few set-based statements on the caller's connection; none commits. A change of state is an UPDATE guarded
by the old state, and from the lease on by the token, so a verb that comes too late changes nothing and says so. Rows
that somebody else has locked are passed over where the database can do that; where it cannot, the guards alone keep two
deliverers apart.

A room per job, in the order of a delivery's life: ``recording``, ``routing`` (on ``deliveries``, the rows and their
states, and ``setting_aside``), ``leasing``, ``outcomes``, ``orphans``, ``replaying``; ``reading`` looks at all of it.
"""

from __future__ import annotations

from alerting.outbox.deliveries import ADDRESSEE, IN_VAIN, DeliveryState, add, unite
from alerting.outbox.leasing import LEASE_RAN_OUT, UNREADABLE, Aside, Lease, due, end_leases_of, lease
from alerting.outbox.orphans import ANNOTATIONS_OFF, BURIED_AT_ONCE, MAIL_OFF, bury_orphans, explain_orphans
from alerting.outbox.outcomes import bury, confirm, release, retry
from alerting.outbox.reading import (
    Backlog,
    Entry,
    Look,
    backlog,
    counts,
    events_of,
    listing,
    look,
    message_of,
    next_due,
)
from alerting.outbox.recording import known, record
from alerting.outbox.replaying import any_dead, replay, whole_messages
from alerting.outbox.routing import Routed, route
from alerting.outbox.setting_aside import is_at_fault, place_of, set_aside, set_aside_delivery, unrouted

__all__ = [
    "ADDRESSEE",
    "ANNOTATIONS_OFF",
    "BURIED_AT_ONCE",
    "IN_VAIN",
    "LEASE_RAN_OUT",
    "MAIL_OFF",
    "UNREADABLE",
    "Aside",
    "Backlog",
    "DeliveryState",
    "Entry",
    "Lease",
    "Look",
    "Routed",
    "add",
    "any_dead",
    "backlog",
    "bury",
    "bury_orphans",
    "confirm",
    "counts",
    "due",
    "end_leases_of",
    "events_of",
    "explain_orphans",
    "is_at_fault",
    "known",
    "lease",
    "listing",
    "look",
    "message_of",
    "next_due",
    "place_of",
    "record",
    "release",
    "replay",
    "retry",
    "route",
    "set_aside",
    "set_aside_delivery",
    "unite",
    "unrouted",
    "whole_messages",
]

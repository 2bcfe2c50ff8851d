"""Signals that only Windsock has: delivery of alerts, callbacks, shipping of logs, losses of its own pipeline."""

from __future__ import annotations

from exporters.signal import Buckets, Label, Signal, Unit
from exporters.signals.rows import WINDSOCK, counter, gauge, timer

SIGNALS: tuple[Signal, ...] = (
    counter("alerts.recorded", "Alert events written to the outbox", WINDSOCK, labels=(Label.EVENT,)),
    counter("alerts.delivered", "Alerts accepted by their receiver", WINDSOCK, labels=(Label.CHANNEL,)),
    counter(
        "alerts.attempt_failures",
        "Delivery attempts that failed and will be retried",
        WINDSOCK,
        labels=(Label.CHANNEL, Label.REASON),
    ),
    counter(
        "alerts.dead",
        "Alerts given up: refused for good, or not accepted within the give-up age",
        WINDSOCK,
        labels=(Label.CHANNEL,),
    ),
    counter(
        "alerts.suppressed",
        "Alerts that somebody was not told of, by reason: nobody, silence, mute_window, inhibited, unwanted, "
        "failing_channel, told_itself, heard, overtaken",
        WINDSOCK,
        labels=(Label.REASON,),
    ),
    counter(
        "alerts.follow_ups",
        "Messages that followed another, by reason: escalation, repeat, fallback",
        WINDSOCK,
        labels=(Label.REASON,),
    ),
    counter(
        "alerts.possible_duplicates",
        "Messages that a receiver may have got twice: a deliverer died or stalled before it wrote their outcome down",
        WINDSOCK,
        labels=(Label.CHANNEL,),
        note="a second one carries the same Message-ID or Idempotency-Key",
    ),
    gauge("alerts.groups_open", "Groups of alerts that have, or may soon have, something to tell", WINDSOCK),
    gauge("alerts.config_ok", "1 where alerting.yml was read or is absent, 0 where it is wrong", WINDSOCK),
    counter(
        "alerts.heartbeats",
        "Heartbeats to the dead-man's switch, by outcome: sent, failed, withheld",
        WINDSOCK,
        labels=(Label.OUTCOME,),
        note="withheld: scheduler, deliverer or outbox are not well",
    ),
    gauge("alerts.backlog", "Alerts waiting in the outbox", WINDSOCK),
    gauge(
        "alerts.oldest_pending_seconds",
        "Age of the oldest alert waiting in the outbox, 0 when it is empty",
        WINDSOCK,
        unit=Unit.SECONDS,
        note="what is held by the rate of its channel, or was sent again, counts from when it may go",
    ),
    timer(
        "alerts.delivery_delay",
        "From the event to the receiver's acceptance, or to the death of the delivery, by outcome: delivered, dead",
        WINDSOCK,
        labels=(Label.CHANNEL, Label.OUTCOME),
        buckets=Buckets.DURATION,
    ),
    counter(
        "callbacks.finished",
        "User callbacks that ended, by outcome",
        WINDSOCK,
        labels=(Label.CALLBACK, Label.OUTCOME),
    ),
    counter("logs.shipped", "Logs of ended attempts that arrived in the remote log folder", WINDSOCK),
    counter(
        "logs.ship_failures",
        "Tries to ship a log that failed",
        WINDSOCK,
        labels=(Label.REASON,),
        note="all but missing are tried again; missing: there is no log, here or there",
    ),
    timer(
        "logs.ship_delay",
        "From the end of an attempt to the arrival of its log in the remote log folder",
        WINDSOCK,
        buckets=Buckets.DURATION,
    ),
    counter(
        "scheduler.late_finishes",
        "Finishes dropped because the attempt's token was no longer valid",
        WINDSOCK,
    ),
    counter(
        "statsd.lines_dropped",
        "StatsD lines that the sender could not send, by reason",
        WINDSOCK,
        labels=(Label.REASON,),
        note="Sent with the next batch that goes out, so it lags while nothing goes out",
    ),
)

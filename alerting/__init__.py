"""Alerting: event → outbox → route → (group →) lease → render → send → confirm. Alone; knows nothing of the engine.

The protocol
============

**Who decides that there is something to tell?** Whoever changes a state, in the transaction of that change:
``outbox.record(connection, events)``. Either both are committed or neither. An event's ``dedup_key`` names its episode,
so recording it again changes nothing.

**Who decides who is told?** ``routes.match``, a pure function of the event, the ``Plan`` and the silences. The plan is
made of the settings and of ``alerting.yml``, where there is one. ``outbox.route`` writes one delivery per target. Where
somebody is not told there is a row too, suppressed, with the reason.

**What is told together?** A delivery that is grouped waits in its group (``groups``). ``groups.flush`` makes a wave of
what waits: one delivery carries the message, is leased, sent and settled like any other, and the others take its
outcome in the same transaction. What goes beyond a receiver's limit (``throttle``) waits in its digest, which is a
group. The claim on a group is the lock on its row, since a wave is formed in one transaction in which nothing is sent.

**Who is told of the end?** An event that ends a trouble goes to whoever has a delivery about it (``recoveries``), and
while a trouble is open its consequences are not told (``inhibitions``).

**What follows?** A message that is confirmed leaves rows for its escalation and its repetition, and any deliverer takes
a row that is due (``follow_ups``), unless somebody acknowledged it meanwhile (``acks``) or it is over. A message that
dies, or waits for a channel that is down, goes to the fallback receiver, once (``fallbacks``).

**Who sends?** Any number of deliverers. ``outbox.lease`` gives one of them a delivery: a token, one attempt charged,
and a moment at which the lease ends. The message is sent with no transaction open. ``retry`` and ``bury`` are guarded
by the token, so whoever lost the lease changes nothing; ``confirm`` counts whoever has the lease now, for what a
receiver has accepted must not be sent again. Whoever knows that a deliverer died may end its leases at once
(``outbox.end_leases_of``).

**Which clock?** The database's, for everything that is stored: due times, leases, ages. The machine's monotonic clock
only paces this process: breakers, time limits.

**What happens when a step fails?**

=========================================  ========================================================================
recording                                  the state change is rolled back with it
routing, or a death in it                  the transaction is rolled back; the next turn routes the event
forming a wave, or a death in it           the transaction is rolled back; the next turn forms it
escalating, or a death in it               the transaction is rolled back with the claim; the next turn escalates
one event, group or follow-up that raises  the others are done one by one without it. The event is dead, with the
                                           reason (``outbox.setting_aside``); the rest is put off (``putting_off``)
leasing, or a death after it               the lease runs out; the delivery is taken again, one attempt charged
rendering                                  retried, since it is our fault; after the give-up age dead, with the reason
sending: not now (4xx, 429, 5xx of HTTP)   retried: full jitter, 1 s doubling to 5 min, or when the receiver said
sending: nobody there                      the lane's breaker opens after three; one probe at a time, at most 15 s
                                           apart; the other messages wait and do not burn attempts
sending: no answer at all                  the thread is written off within the lease and replaced; then as a death.
                                           An acceptance that comes late still counts
sending: never (5xx of SMTP, 4xx of HTTP)  dead, with the reason; ``replay`` tries again
the receiver is not in the settings        it stays pending, no attempt charged, and says what to set; after the
                                           give-up age dead. Mail without an SMTP host is such a receiver
a death after sending, before confirming   sent again: at least once. The message carries the same Message-ID or
                                           Idempotency-Key, so that the receiver can tell
confirming, while the database is away     tried until the lease ends, then as a death
reading alerting.yml                       the one that was read before stays in force (``reload``)
=========================================  ========================================================================

So every event ends as delivered, dead or suppressed, each visible in ``outbox.listing``, and none disappears.

Modules, in the order of the flow: ``events`` (on ``kinds``), ``outbox`` (on ``tables``, ``database``, ``clock``),
``routes`` (on ``routing``, ``duties``, ``matchers``, ``calendar``, ``silences``), ``recoveries``, ``inhibitions``,
``overtaken``, ``groups`` (on ``throttle``, ``mailings``), ``follow_ups`` and ``fallbacks`` (on ``telling``, ``heard``,
``escalations``, ``spans``), ``acks``, ``render`` (on ``words``, ``digest``, ``cleaning``, ``templating``, ``chart``),
``channels`` (``email``, ``grafana``, ``chat`` on ``http`` and ``services``), ``deliver`` (its turns; ``sending`` and
``settling`` are what the threads of ``lanes`` do; on ``means``, ``pace``, ``meters``; ``one_by_one`` and
``putting_off`` where something cannot be done), which notices when a channel fails (``failing``, on ``troubles``).
``config`` reads the file (on ``document``), ``reload`` watches it, ``secrets`` finds what nobody may see of it,
``reach`` asks whether anybody answers. ``history`` looks back. ``preview`` shows a message without sending it, if need
be of ``samples``.

``notice`` makes events in DAG files (``from alerting import notify``); where there is no notifier, as in Airflow,
``standalone`` delivers them. From outside come alerts of Prometheus (``alertmanager``, and ``watchdog`` for the one
that must not stay away); ``alertmanager_config`` tells an Alertmanager the same rules; ``heartbeat`` calls a
dead-man's switch.
"""

from __future__ import annotations

from alerting.notice import notify

__all__ = ["notify"]

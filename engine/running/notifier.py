"""The notifier: one process that delivers alerts and runs user callbacks."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from alerting import outbox
from alerting.channels import Channel
from alerting.channels.chat import receivers
from alerting.channels.email import mail_channels
from alerting.channels.grafana import annotation_channels
from alerting.channels.smtp import SmtpConfig
from alerting.deliver import Deliverer
from alerting.meters import NoMeter
from alerting.reload import Refusal, Watch
from alerting.routes import Plan
from engine.config import Settings
from engine.config.fingerprint import DELIVERY, fingerprint
from engine.logs.redaction import Redactor
from engine.metastore import processes
from engine.metastore.processes import Identity, identify
from engine.metastore.refused import refused
from engine.metastore.states import ProcessKind
from engine.metastore.store import Store, Tx
from engine.metastore.wakeups import ALERTS, Listener
from engine.metrics import Metrics
from engine.running.callback_outcomes import Retries
from engine.running.callback_requests import FAREWELL_SECONDS, CallbackRunner, Rules
from engine.running.environment import hide_secrets
from engine.running.lookout import Lookout
from engine.running.rendering import renderer
from engine.running.watchman import Watchman

log = logging.getLogger(__name__)

_SURELY_DEAD = timedelta(hours=1)  # on another machine; here the kernel tells
# A thread whose receiver has answered waits no longer than this for another one that computes. Python's own 5 ms, at
# each of the answers that a mail server gives, would add up.
_SWITCH_SECONDS = 0.0005


class Delivery:
    """The deliverer that the settings and alerting.yml describe. A receiver that cannot be used says so in its rows."""

    def __init__(self, settings: Settings, store: Store, metrics: Metrics | None = None, holder: str = "") -> None:
        smtp = settings.smtp
        mail = SmtpConfig(
            host=smtp.smtp_host,
            port=smtp.smtp_port,
            user=smtp.smtp_user,
            password=smtp.smtp_password,
            mail_from=smtp.smtp_mail_from,
            ssl=smtp.smtp_ssl,
            starttls=smtp.smtp_starttls,
            timeout=smtp.smtp_timeout,
            keep_seconds=smtp.smtp_keep_seconds,
        )
        self._told = [
            *receivers(settings.alerting.apprise_urls),
            *annotation_channels(settings.grafana.address, settings.grafana.token),
        ]
        self._mail = mail_channels(mail)
        self._give_up_after = timedelta(seconds=settings.alerting.give_up_after)
        self._failing_after = timedelta(seconds=settings.alerting.delivery_failing_after)
        self._settings, self._environ = settings, dict(os.environ)
        self.watch = Watch(settings.alerting.config_file, self._environ, metrics or NoMeter())
        self._redactor = Redactor.from_settings(settings, self._environ)
        self.deliverer = Deliverer(
            store.engine,
            self._channels(),
            renderer(settings, store, self.redact),
            self._plan(),
            lease_for=timedelta(seconds=settings.alerting.lease_seconds),
            meter=metrics,
            holder=holder,
        )

    def refresh(self, *, force: bool = False) -> None:
        """Take up alerting.yml where it changed."""
        if self.watch.refresh(force=force):
            self._redactor = Redactor.from_settings(self._settings, self._environ)
            self.deliverer.reconfigure(self._channels(), self._plan())

    def redact(self, text: str) -> str:
        """Masks what is secret now: a changed alerting.yml brings other secrets."""
        return self._redactor.redact(text)

    def close(self) -> None:
        """Close what is kept open for the next message."""
        for mail in self._mail:
            mail.close()

    def _channels(self) -> list[Channel]:
        return [*self._mail, *self._told, *self.watch.channels]

    def _plan(self) -> Plan:
        told = tuple(channel.name for channel in self._told)
        return Plan(told, self._give_up_after, self.watch.routing, self._failing_after or None)


def run(settings: Settings) -> int:
    """Deliver and call back until TERM or INT."""
    store = Store.from_settings(settings)
    store.check()
    metrics = Metrics(settings.metrics)
    identity = identify(ProcessKind.NOTIFIER)
    detail = {"settings": fingerprint(settings, DELIVERY)}
    store.run(lambda tx: processes.register(tx, identity, detail))
    stop = threading.Event()
    listener = Listener(store, "notifier")
    listener.heed_signals()

    def on_signal(*_: object) -> None:
        stop.set()
        listener.interrupt()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    sys.setswitchinterval(_SWITCH_SECONDS)
    delivery = Delivery(settings, store, metrics, identity.id)
    reload = _Reload(delivery, listener.interrupt)
    watchman = Watchman(settings, store, metrics)
    hide_secrets(settings)  # from the callbacks
    callbacks = CallbackRunner(
        store,
        metrics,
        identity.id,
        log_folder=Path(settings.logging.base_log_folder),
        redact=delivery.redact,
        rules=Rules(
            settings.core.callback_timeout,
            Retries(settings.core.callback_retries, settings.core.callback_retry_delay),
            settings.core.zygote_idle_seconds,
        ),
        dags_folder=str(settings.core.dags_folder),
        base_url=settings.webserver.url,
        told=listener.interrupt,
    )
    lookout = Lookout(settings, store, identity.id)
    _take_over(store, callbacks)
    beat_seconds = settings.scheduler.job_heartbeat_sec
    pulse = _Pulse(identity, delivery.watch, detail)
    helpers = [
        _helper("callbacks", stop, listener.interrupt, lambda: callbacks.run(stop)),
        _helper("heartbeat", stop, listener.interrupt, lambda: _beat(store, metrics, pulse, beat_seconds, stop)),
        _helper("watchman", stop, listener.interrupt, lambda: watchman.run(stop)),
        _helper("lookout", stop, listener.interrupt, lambda: lookout.run(stop)),
    ]
    log.info("delivering alerts and running callbacks")
    delivery.deliverer.run(partial(_wait, listener, callbacks, reload, watchman, stop), stop)
    delivery.close()
    stop.set()
    callbacks.nudge()
    for helper in helpers:
        helper.join(timeout=FAREWELL_SECONDS + 3)
    store.run(lambda tx: _sign_off(tx, identity, lookout))
    listener.close()
    metrics.close()
    store.close()
    return 0


def _sign_off(tx: Tx, identity: Identity, lookout: Lookout) -> None:
    lookout.leadership.resign(tx)
    processes.end(tx, [identity.id])


def _take_over(store: Store, callbacks: CallbackRunner) -> None:
    """Go on at once with what a killed predecessor was about to do."""
    kinds = (ProcessKind.NOTIFIER,)
    dead = store.run(lambda tx: processes.find_dead(tx.connection, tx.now, _SURELY_DEAD, kinds))
    callbacks.take_over(dead)

    def work(tx: Tx) -> None:
        for holder in dead:
            outbox.end_leases_of(tx.connection, tx.now, holder)
        processes.declare_dead(tx, dead)

    store.run(work)


class _Reload:
    """SIGHUP, and a look at the file between two turns."""

    def __init__(self, delivery: Delivery, interrupt: Callable[[], None]) -> None:
        self._delivery = delivery
        self._interrupt = interrupt
        self._asked = False
        signal.signal(signal.SIGHUP, self._ask)

    def _ask(self, *_: object) -> None:
        self._asked = True
        self._interrupt()

    def look(self) -> None:
        asked, self._asked = self._asked, False
        self._delivery.refresh(force=asked)


def _wait(
    listener: Listener,
    callbacks: CallbackRunner,
    reload: _Reload,
    watchman: Watchman,
    stop: threading.Event,
    seconds: float,
) -> bool:
    watchman.turned()
    woken = listener.wait(seconds) and not stop.is_set()
    reload.look()
    if woken and listener.take_news() != {ALERTS}:  # else its look would hold up theirs
        callbacks.nudge()
    return woken


def _helper(
    name: str, stop: threading.Event, interrupt: Callable[[], None], work: Callable[[], None]
) -> threading.Thread:
    """A thread whose death stops the process: its owner starts it anew, and nothing fails silently."""

    def guarded() -> None:
        try:
            work()
        except Exception:
            log.exception("the %s thread died; stopping the notifier", name)
            stop.set()
            interrupt()

    thread = threading.Thread(target=guarded, name=name, daemon=True)
    thread.start()
    return thread


class _Pulse:
    """The notifier's row: that it lives, and what it refuses of alerting.yml, which the page of alerts shows."""

    def __init__(self, identity: Identity, watch: Watch, detail: dict[str, Any]) -> None:
        self._identity = identity
        self._watch = watch
        self._detail = detail
        self._told: Refusal | None = None

    def beat(self, store: Store) -> None:
        refusal = self._watch.refusal
        store.run(lambda tx: self._write(tx, refusal))
        self._told = refusal

    def _write(self, tx: Tx, refusal: Refusal | None) -> None:
        processes.heartbeat(tx, [self._identity.id])
        if refusal != self._told:
            processes.describe(tx, self._identity.id, self._detail | refused(refusal))


def _beat(store: Store, metrics: Metrics, pulse: _Pulse, seconds: float, stop: threading.Event) -> None:
    while not stop.wait(seconds):
        try:
            pulse.beat(store)
        except Exception as error:
            metrics.incr("job_heartbeat_failure")
            log.warning("the heartbeat could not be written: %s", error)

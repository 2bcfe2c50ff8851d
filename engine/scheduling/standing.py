"""Who a scheduler is in the metastore, and whether it leads."""

from __future__ import annotations

from engine.metastore import processes
from engine.metastore.leases import Leadership
from engine.metastore.processes import identify
from engine.metastore.states import ProcessKind
from engine.metastore.store import Tx


class Standing:
    """Its identity, and its view of the leader's lease."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Become another, since somebody declared this one dead."""
        self.identity = identify(ProcessKind.SCHEDULER)
        self.leadership = Leadership(self.identity.id)

    def sign_off(self, tx: Tx, owners: list[str]) -> None:
        """Let the next leader begin at once, and say that these processes have ended."""
        self.leadership.resign(tx)
        processes.end(tx, owners)

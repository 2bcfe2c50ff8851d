"""Everything on one machine under one supervisor: ``windsock up``, ``down``, ``status``.

Who does what:

1. ``up`` starts the supervisor, a slim interpreter of its own (``supervise``), with the locked pid file. The lock is
   held as long as the supervisor lives, so a pid file whose lock is free is stale, whatever it says. It imports what
   components need while ``up`` does the next step: on two cores both are done in the time of the longer one.
2. ``up`` prepares the home and the metastore, checks the ports and writes a :class:`~engine.stack.component.Plan`
   (``inventory``, ``monitoring``, ``ports``), which it hands to the supervisor on its standard input. Where one of
   these fails, the supervisor is sent away without a plan.
3. The supervisor starts each component in a process group of its own, restarts those that die, and writes what it
   knows to ``run/stack.json`` after each change (``state``).
4. ``up`` and ``status`` read that file and ask each component itself how it is (``health``). The supervisor never
   asks, so that no slow answer keeps it from its children.
5. ``down`` sends TERM to the supervisor and waits until the lock is free.

When the supervisor is killed, the kernel kills each component with it; the metastore is made for that. What survived
all the same, being of another's making, is ended by the next ``up``. In the foreground the supervisor's standard input
stays open in ``up``: when it ends, whatever ``up`` died of, the stack is stopped in order.
"""

from __future__ import annotations

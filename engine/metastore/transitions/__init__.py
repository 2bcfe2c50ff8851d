"""Every change of state of runs and task instances, one verb each; a module for those that do one job.

=================  =================================  ==========================================================
verb               from → to                          guard
=================  =================================  ==========================================================
create_run,        (nothing) → run queued             unique (dag_id, run_id) and (dag_id, logical_date)
insert_run
start_runs         run queued → running               state; budget dag_runs; creates the task instances
claim              scheduled → queued                 state; DAG not paused; budgets pool and dag_tasks; charges
                   (with `starting`: → running)
release            queued → scheduled                 token; takes the charge back: no process was started
start              queued → running                   token
finish             running → success, failed,         token; advances children, closes runs
                   up_for_retry, skipped,
                   up_for_reschedule
disown             queued, running → scheduled        owner; what never reached it, without charge
rescue             queued, running → (release,        owner; what its dead owner left behind
                   finish as lost)
promote            up_for_retry, up_for_reschedule    state and ready_at
                   → scheduled
expire_runs        run running → failed; its open     state and deadline (engine.metastore.deadlines)
                   tasks → skipped
fail_stuck         run running → failed               state; all that is open waits for tasks that the run lacks
                                                      (engine.metastore.absent)
expire_waiting     scheduled → failed, up_for_retry   state and scheduled_at (engine.metastore.waiting)
clear, mark        any → (nothing), success, failed,  locked rows (engine.metastore.clearing); running ones are ended
                   skipped; run → queued              first (engine.metastore.endings)
=================  =================================  ==========================================================

Rows are locked in the order task instances (by id), runs, budgets (by key), so that schedulers seldom deadlock; when
they do, :meth:`Database.run <engine.metastore.database.Database.run>` repeats the loser.
"""

from __future__ import annotations

"""What a DAG file imports, how it is read into a process, and what a task sees when it runs.

=====================  ==========================================================================================
dag, operator, bash,   the objects that an author writes; names and meanings are Airflow's
python, xcom_arg
branching, sensors,    operators that decide what runs, that wait, and that reach over to other DAGs
standard_sensors,
triggering, decorated
params                 ``Param``: values with a schema
airflow_names          ``import airflow…`` in a DAG file finds these classes
airflow_absent         what of Airflow is not there on purpose, and what to write instead
exceptions             what a task may raise to say how it ended
schedules, timetables  what ``schedule=`` accepts; when the next run is due (pure functions)
loader, faults         one DAG file → DAG objects, or what is wrong with it, where, and what to do
serialize, serialized  DAG object → the closed JSON schema that everything else reads
attempt_context        the plain record that the scheduler sends to an attempt
context, run_objects,  what that record looks like to user code: ``ds``, ``ti``, ``dag_run``, ``params`` …
macros, templating
execution              rendering and running one task inside an attempt
=====================  ==========================================================================================

These modules are imported by every parse and task process, so they stay slim: pendulum, croniter and Jinja2 are
imported when something needs them, SQLAlchemy never.
"""

from __future__ import annotations

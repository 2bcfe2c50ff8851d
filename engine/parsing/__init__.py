"""The DAG processor: from a folder of Python files to serialised DAGs in the metastore.

=============  ==================================================================================================
folder         what DAG files there are, and which of them changed
ignore         ``.windsockignore`` and ``.airflowignore``
child          what a parse process does: import one file, serialise its DAGs, say what is wrong with it
orders         what processor and parse process tell one another
pool           the parse processes: at most so many at once, each with a hard time limit
agenda         which file is parsed next (pure)
stored         what is written to the metastore, and only where something changed
filelog        one log per DAG file, and the table of all files
processor      the loop that ties them together
=============  ==================================================================================================

Only parse processes import user code. Each is forked for one file and ends with it, so that a file that hangs, exits,
crashes or changes global state harms no other. When the server that forks them dies, its jobs are given to a new one.
"""

from __future__ import annotations

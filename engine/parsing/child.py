"""What a parse process does: a fork of the parse server that imports one DAG file, reports, and ends.

Files handed over, in this order: the report (a file in memory), the trace (likewise: where the process stood when it
hung or crashed), and the pipe that takes the DAG file's output.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import time
from pathlib import Path

import croniter  # noqa: F401 - imported for the children's sake, as are the modules below

from engine.authoring import bash, python, timetables  # noqa: F401
from engine.authoring.dag import DAG
from engine.authoring.faults import Fault, fault_of
from engine.authoring.loader import load_file
from engine.authoring.serialize import serialize
from engine.authoring.serialized import encode_dag, version_of
from engine.parsing.folder import is_utf8
from engine.parsing.orders import ParsedDag, ParseOrder, ParseReport, decode_order, encode_report, presentable
from engine.parsing.reads import Reads
from engine.parsing.sought import sought_by


def parse(payload: bytes, fds: list[int]) -> int:
    """The parse server's handler."""
    report_fd, trace_fd, output_fd = fds
    order = decode_order(payload)
    _redirect_output(output_fd)
    faulthandler.enable(trace_fd)
    faulthandler.dump_traceback_later(order.timeout_seconds, exit=True, file=trace_fd)
    report = read_dag_file(order)
    faulthandler.cancel_dump_traceback_later()
    with os.fdopen(report_fd, "wb") as file:
        file.write(encode_report(report))
    return 0


def _redirect_output(fd: int) -> None:
    os.dup2(fd, 1)
    os.dup2(fd, 2)
    os.close(fd)
    # New streams: the old ones remember whether the server's standard output was a file that can be sought in.
    sys.stdout = open(1, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s - %(message)s", force=True)


def read_dag_file(order: ParseOrder) -> ParseReport:
    """Import the file, serialise its DAGs, collect what is wrong."""
    start = time.monotonic()
    known = set(sys.modules)
    reads = Reads()
    reads.listen()
    dags: list[ParsedDag] = []
    faults: list[Fault] = []
    sought: set[str] = set()
    try:
        loaded = load_file(Path(order.path), Path(order.dags_folder), order.defaults)
    except BaseException as error:  # a DAG file may raise anything, SystemExit included
        faults.append(fault_of(error, order.path))
        sought = sought_by(error, order.dags_folder)
    else:
        faults += loaded.faults
        for dag in loaded.dags:
            _add(dag, order.path, dags, faults)
    told = [presentable(fault) for fault in faults]
    files = _imported(known)
    sources = _sources(order, files | sought)
    others = reads.of(files, (order.path, *sources))
    asks = reads.asks or reads.may_ask_unheard(files, (order.path, *sources))
    return ParseReport(dags, told, time.monotonic() - start, sources, others, asks)


def _add(dag: DAG, path: str, dags: list[ParsedDag], faults: list[Fault]) -> None:
    try:
        data = encode_dag(serialize(dag))
    except Exception as error:  # custom operators run their own code here, too
        faults.append(fault_of(error, path, dag.dag_id))
    else:
        dags.append(ParsedDag(dag.dag_id, version_of(data), data.decode(), dag.defined_at[1] or None))


def _imported(known: set[str]) -> set[str]:
    """The files of the modules that were not known before."""
    modules = [sys.modules.get(name) for name in set(sys.modules) - known]
    return {file for module in modules if (file := getattr(module, "__file__", None))}


def _sources(order: ParseOrder, files: set[str]) -> list[str]:
    folder = order.dags_folder + os.sep
    return sorted(file for file in files if file != order.path and file.startswith(folder) and is_utf8(file))

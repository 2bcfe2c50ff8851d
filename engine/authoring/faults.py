"""What is wrong with a DAG file: one sentence that names the line, one that says what to do, and the whole story."""

from __future__ import annotations

import traceback
from pathlib import Path
from types import ModuleType, TracebackType

import msgspec

from engine.authoring import airflow_names, import_errors
from engine.authoring.airflow_absent import absent_name
from engine.authoring.error_names import public
from engine.authoring.exceptions import AuthoringError
from engine.authoring.suggest import did_you_mean

_OFFERED = (
    "DAG",
    "dag",
    "BashOperator",
    "PythonOperator",
    "EmptyOperator",
    "BaseOperator",
    "task",
    "chain",
    "TriggerRule",
)


class Fault(msgspec.Struct, frozen=True, omit_defaults=True):
    """One thing that is wrong. `dag_id` is set where it concerns one DAG of the file only."""

    summary: str
    remedy: str
    line: int | None = None
    story: str = ""
    dag_id: str | None = None


def fault_of(error: BaseException, path: str, dag_id: str | None = None) -> Fault:
    """The fault that an exception raised while reading the file at `path` stands for."""
    match error:
        case SyntaxError(filename=str() | None):
            return _syntax(error, path)
        case AuthoringError():
            line = error.line or _line_in(error.__traceback__, path)
            return Fault(_told(error.message, line), error.remedy, line, _story(error, path), dag_id)
        case ImportError() if about := airflow_names.explanation(error):
            line = _line_in(error.__traceback__, path)
            return Fault(_told(about[0], line), about[1], line, _story(error, path))
        case AttributeError(name=str(name), obj=ModuleType(__name__=module)) if airflow_names.is_below_root(module):
            line = _line_in(error.__traceback__, path)
            summary, remedy = airflow_names.missing_name(module, name)
            return Fault(_told(summary, line), remedy, line, _story(error, path))
        case ModuleNotFoundError():
            return _missing_module(error, path)
        case ImportError(name="engine") if import_errors.missing_from_it(error):
            return _missing_name(error, path)
        case NameError(name=str(name)) if name in _OFFERED:
            line = _line_in(error.__traceback__, path)
            remedy = f"Add to the imports: from engine import {name}."
            return Fault(_told(f"NameError: name {name!r} is not defined.", line), remedy, line, _story(error, path))
        case SystemExit():
            line = _line_in(error.__traceback__, path)
            remedy = "Remove the call of sys.exit() or exit(): a DAG file is imported, not run."
            summary = _told(f"The import called exit({error.code!r}).", line)
            return Fault(summary, remedy, line, _story(error, path), dag_id)
    line = _line_in(error.__traceback__, path)
    what = " ".join(public(traceback.format_exception_only(error)[-1]).split())
    remedy = f"Correct the DAG file{f' at line {line}' if line else ''}, or what it imports."
    return Fault(_told(what, line), remedy, line, _story(error, path), dag_id)


def _syntax(error: SyntaxError, path: str) -> Fault:
    here = not error.filename or _same(error.filename, path)
    place = "" if here else f" in {error.filename}"
    code = f": {error.text.strip()!r}" if error.text and error.text.strip() else ""
    line = error.lineno if here else _line_in(error.__traceback__, path)
    where = f"line {error.lineno}{place}" if error.lineno else f"the file{place}"  # with null bytes, no line is known
    summary = f"{where[0].upper()}{where[1:]}: {type(error).__name__}: {error.msg}{code}."
    story = "".join(traceback.format_exception_only(error))
    return Fault(summary, f"Correct the syntax in {where}.", line, story)


def _missing_module(error: ModuleNotFoundError, path: str) -> Fault:
    line = _line_in(error.__traceback__, path)
    remedy = f"Install {error.name!r} into the environment that runs Windsock, or put it into the DAG folder."
    if import_errors.module_of(error).partition(".")[0] == "engine":
        remedy = f"Import from engine itself: from engine import DAG, BashOperator. It offers {', '.join(_OFFERED)}."
    return Fault(_told(f"ModuleNotFoundError: {error.msg}.", line), remedy, line, _story(error, path))


def _missing_name(error: ImportError, path: str) -> Fault:
    wanted = import_errors.missing_from_it(error)
    line = _line_in(error.__traceback__, path)
    absent = absent_name("engine", wanted)
    reason = f": {absent.what}" if absent else ""
    remedy = absent.remedy if absent else f"It offers {', '.join(_OFFERED)}.{did_you_mean(wanted, _OFFERED)}"
    return Fault(_told(f"engine has no {wanted!r} to import{reason}.", line), remedy, line, _story(error, path))


def _told(message: str, line: int | None) -> str:
    return f"Line {line}: {message}" if line else message


def _line_in(trace: TracebackType | None, path: str) -> int | None:
    """The line of the DAG file in which the innermost frame of it stood."""
    lines = [entry.lineno for entry in traceback.extract_tb(trace) if _same(entry.filename, path)]
    return lines[-1] if lines else None


def _same(filename: str, path: str) -> bool:
    return filename == path or Path(filename) == Path(path)


def _story(error: BaseException, path: str) -> str:
    """The traceback from the DAG file on, without the frames of the machinery around it."""
    told = traceback.TracebackException.from_exception(error)
    start = next((index for index, frame in enumerate(told.stack) if _same(frame.filename, path)), 0)
    frames = [frame for frame in told.stack[start:] if "/engine/authoring/" not in frame.filename]
    told.stack = traceback.StackSummary.from_list(frames)
    return "".join(map(public, told.format()))

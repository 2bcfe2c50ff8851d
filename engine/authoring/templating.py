"""Rendering template fields with Jinja2, in a sandbox, with names resolved from the context when they are used.

A string without ``{{``, ``{%`` or ``{#`` is returned as it is, and Jinja2 is not even imported for it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from engine.authoring import context as context_module
from engine.authoring.absent_names import instead_of
from engine.authoring.attempt_context import AttemptContext, DagFacts, TaskFacts, XComAccess
from engine.authoring.context import NAMES, Context
from engine.authoring.exceptions import AuthoringError, TemplateError
from engine.authoring.serialized import BashSpec
from engine.authoring.xcom_arg import XComArg

if TYPE_CHECKING:
    from jinja2.sandbox import SandboxedEnvironment

    from engine.authoring.operator import BaseOperator

_MARKERS = ("{{", "{%", "{#")
_UNDEFINED = re.compile(r"'(\w+)' is undefined")
_FILTERS = ("ds", "ds_nodash", "ts", "ts_nodash", "ts_nodash_with_tz")
_CONTEXT = "__context__"
_ITS_NAME = "Correct its name, or define it in user_defined_filters."
_BASH_EXTENSIONS = (".sh", ".bash")


class RenderedBash(msgspec.Struct, frozen=True):
    """A command ready to run; `env` is its whole environment."""

    command: str
    env: dict[str, str]
    cwd: str | None


class Renderer:
    """Renders the fields of one task in one context."""

    def __init__(self, context: Context, task_id: str) -> None:
        self._context = context
        self._task_id = task_id
        self._environment: SandboxedEnvironment | None = None

    @property
    def environment(self) -> SandboxedEnvironment:
        if self._environment is None:
            self._environment = _environment(self._context.dag)
        return self._environment

    def field(self, name: str, value: Any, extensions: tuple[str, ...] = ()) -> Any:
        """One template field; a string that ends in one of `extensions` names a template file."""
        if isinstance(value, str) and extensions and value.endswith(extensions):
            return self._guarded(name, lambda: self._rendered(self.environment.get_template(value)))
        return self.value(name, value)

    def value(self, place: str, value: Any) -> Any:
        """A value of any shape; `place` names it in errors."""
        if isinstance(value, str):
            return self._text(place, value)
        if isinstance(value, XComArg):
            return value.resolve(self._context)
        if isinstance(value, dict):
            return {key: self.value(f"{place}[{key!r}]", item) for key, item in value.items()}
        if isinstance(value, (list, set, frozenset)):
            return type(value)(self.value(f"{place}[{index}]", item) for index, item in enumerate(value))
        if isinstance(value, tuple):
            items = [self.value(f"{place}[{index}]", item) for index, item in enumerate(value)]
            return type(value)(*items) if hasattr(value, "_fields") else tuple(items)
        return value

    def _text(self, place: str, text: str) -> str:
        if not any(marker in text for marker in _MARKERS):
            return text
        return self._guarded(place, lambda: self._rendered(self.environment.from_string(text)))

    def _rendered(self, template: Any) -> str:
        return str(template.render({_CONTEXT: self._context}))

    def _guarded(self, place: str, render: Callable[[], str]) -> str:
        from jinja2 import TemplateError as JinjaError

        try:
            return render()
        except AuthoringError as error:
            raise self._error(place, error.message, error.remedy) from error
        except JinjaError as error:
            raise self._error(place, *_explained(error)) from error
        except Exception as error:
            raise self._error(place, f"{type(error).__name__}: {error}", "") from error

    def _error(self, place: str, message: str, remedy: str) -> TemplateError:
        return TemplateError(f"Task {self._task_id!r}, template field {place}: {message.rstrip('.')}.", remedy)


def _explained(error: Exception) -> tuple[str, str]:
    from jinja2 import TemplateAssertionError, TemplateNotFound, TemplateSyntaxError

    match error:
        case TemplateNotFound():
            remedy = "Its path is relative to the DAG file's folder; put a blank behind the command to run it as it is."
            return f"there is no template file {error.name!r}", remedy
        case TemplateSyntaxError():
            told = f"{(error.message or '').rstrip('.')}, line {error.lineno} of the template"
            unknown = isinstance(error, TemplateAssertionError)
            return told, _ITS_NAME if unknown else "Correct the Jinja syntax."
    message = str(error)
    if match := _UNDEFINED.search(message):
        return message, instead_of(match[1], NAMES) or "Define it in params, conf or user_defined_macros."
    return message, ""


def _environment(dag: Any) -> SandboxedEnvironment:
    from jinja2 import FileSystemLoader, StrictUndefined

    folders = [dag.folder or ".", *getattr(dag, "template_searchpath", ())]
    environment = _environment_class()(
        loader=FileSystemLoader(folders),
        undefined=getattr(dag, "template_undefined", None) or StrictUndefined,
        extensions=["jinja2.ext.do"],
        cache_size=0,
    )
    environment.filters.update({name: getattr(context_module, name) for name in _FILTERS})
    environment.globals.update(getattr(dag, "user_defined_macros", {}))
    environment.filters.update(getattr(dag, "user_defined_filters", {}))
    return environment


def _environment_class() -> type[SandboxedEnvironment]:
    # Made on demand, because its bases are: the import of Jinja2 is most of the cost of rendering.
    from jinja2.runtime import Context as JinjaContext
    from jinja2.sandbox import SandboxedEnvironment
    from jinja2.utils import missing

    class LazyContext(JinjaContext):
        """Looks a name up in the task's context after Jinja's own scopes, so that only what is used is made."""

        def resolve_or_missing(self, key: str) -> Any:
            found = super().resolve_or_missing(key)
            if found is not missing:
                return found
            context: Context = self.parent[_CONTEXT]
            return context.get(key, missing)

    class Environment(SandboxedEnvironment):
        context_class = LazyContext

    return Environment


def render_fields(task: BaseOperator, context: Context) -> dict[str, Any]:
    """The template fields of `task`, rendered. Raises TemplateError naming task and field."""
    renderer = Renderer(context, task.task_id)
    extensions = tuple(task.template_ext)
    rendered = {}
    for name in task.template_fields:
        if not hasattr(task, name):
            msg = f"{task.task_type}.template_fields names {name!r}, which task {task.task_id!r} does not have."
            raise AuthoringError(msg, f"Set self.{name} in __init__, or correct template_fields.")
        rendered[name] = renderer.field(name, getattr(task, name), extensions)
    return rendered


def render_bash(
    spec: BashSpec, record: AttemptContext, xcom: XComAccess, inherited: Mapping[str, str] | None = None
) -> RenderedBash:
    """Render a Bash attempt from its record alone: the DAG file is not imported.

    `inherited` is the environment that the command's variables are added to, by default this process's.
    """
    dag = record.dag or DagFacts(dag_id=record.dag_id)
    context = Context(record, dag, record.task or TaskFacts(task_id=record.task_id), xcom)
    renderer = Renderer(context, record.task_id)
    own: dict[str, Any] | None = renderer.value("env", spec.env)
    return RenderedBash(
        command=renderer.field("bash_command", spec.bash_command, _BASH_EXTENSIONS),
        env=command_environment(context, own, spec.append_env, os.environ if inherited is None else inherited),
        cwd=renderer.value("cwd", spec.cwd),
    )


def is_plain(spec: BashSpec) -> bool:
    """Whether a Bash attempt runs its command as it is, in the inherited environment and a scratch folder."""
    command = spec.bash_command
    named = command.endswith(_BASH_EXTENSIONS)
    has_own = spec.env is not None or spec.cwd is not None
    return not (named or has_own or any(marker in command for marker in _MARKERS))


def command_environment(
    context: Context, own: Mapping[str, Any] | None, append: bool, inherited: Mapping[str, str]
) -> dict[str, str]:
    """What a command sees: Airflow's ``AIRFLOW_CTX_*``, and its `own` variables instead of the inherited ones.

    Both are there where it has none of its own, or they are to be appended.
    """
    base = inherited if own is None or append else {}
    return {**base, **_context_variables(context), **{name: str(value) for name, value in (own or {}).items()}}


def _context_variables(context: Context) -> dict[str, str]:
    record = context.record
    logical_date = context.logical_date.isoformat() if record.logical_date else ""
    return {
        "AIRFLOW_CTX_DAG_ID": record.dag_id,
        "AIRFLOW_CTX_TASK_ID": record.task_id,
        "AIRFLOW_CTX_DAG_RUN_ID": record.run_id,
        "AIRFLOW_CTX_LOGICAL_DATE": logical_date,
        "AIRFLOW_CTX_EXECUTION_DATE": logical_date,
        "AIRFLOW_CTX_TRY_NUMBER": str(record.try_number),
        "AIRFLOW_CTX_DAG_OWNER": str(getattr(context.task, "owner", "")),
        "AIRFLOW_CTX_DAG_EMAIL": ",".join(getattr(context.task, "email", ())),
    }

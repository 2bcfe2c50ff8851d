"""DAG files written for Airflow: ``from airflow.sdk import DAG`` finds Windsock's own classes of the same name.

While a DAG file is imported or run, a finder in front of all others answers for ``airflow`` and everything below it
with modules that hold the names of :data:`MODULES` and nothing else. A name or module that is not there is an
ImportError, as in an Airflow that lacks it, so that ``try: … except ImportError:`` works. An Airflow that is installed
in the same environment stays out of the way: its operators could not run here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import MappingProxyType, ModuleType
from typing import Any, Final

from engine.authoring import import_errors
from engine.authoring.airflow_absent import absent_module, absent_name
from engine.authoring.suggest import SLIP, did_you_mean, nearest

ROOT: Final = "airflow"

_EXCEPTIONS: Final = (
    "AirflowException",
    "AirflowFailException",
    "AirflowRescheduleException",
    "AirflowSensorTimeout",
    "AirflowSkipException",
    "ParamValidationError",
)
_DEADLINE: Final = ("AsyncCallback", "DeadlineAlert", "DeadlineReference", "SyncCallback")
_PYTHON: Final = ("PythonOperator", "BranchPythonOperator", "ShortCircuitOperator", "get_current_context")
_SENSOR: Final = ("BaseSensorOperator", "PokeReturnValue")

# Module → what DAG files import from it: Airflow 2's modules, those of its standard provider, and Airflow 3's.
MODULES: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "airflow": ("DAG",),
        "airflow.sdk": (
            "AsyncCallback",
            "DAG",
            "BaseOperator",
            "BaseSensorOperator",
            "Context",
            "DeadlineAlert",
            "DeadlineReference",
            "Param",
            "PokeReturnValue",
            "SyncCallback",
            "TriggerRule",
            "XComArg",
            "chain",
            "cross_downstream",
            "dag",
            "get_current_context",
            "task",
        ),
        "airflow.sdk.bases.operator": ("BaseOperator", "chain", "cross_downstream"),
        "airflow.sdk.bases.sensor": _SENSOR,
        "airflow.sdk.definitions.callback": ("AsyncCallback", "SyncCallback"),
        "airflow.sdk.definitions.deadline": _DEADLINE,
        "airflow.sdk.exceptions": _EXCEPTIONS,
        "airflow.decorators": ("dag", "task"),
        "airflow.exceptions": _EXCEPTIONS,
        "airflow.models": ("DAG", "BaseOperator", "Param", "XComArg"),
        "airflow.models.baseoperator": ("BaseOperator", "chain", "cross_downstream"),
        "airflow.models.dag": ("DAG", "dag"),
        "airflow.models.param": ("Param",),
        "airflow.models.xcom_arg": ("XComArg",),
        "airflow.operators.bash": ("BashOperator",),
        "airflow.operators.branch": ("BaseBranchOperator",),
        "airflow.operators.datetime": ("BranchDateTimeOperator",),
        "airflow.operators.empty": ("EmptyOperator",),
        "airflow.operators.latest_only": ("LatestOnlyOperator",),
        "airflow.operators.python": _PYTHON,
        "airflow.operators.trigger_dagrun": ("TriggerDagRunOperator",),
        "airflow.operators.weekday": ("BranchDayOfWeekOperator",),
        "airflow.providers.standard.operators.bash": ("BashOperator",),
        "airflow.providers.standard.operators.branch": ("BaseBranchOperator",),
        "airflow.providers.standard.operators.datetime": ("BranchDateTimeOperator",),
        "airflow.providers.standard.operators.empty": ("EmptyOperator",),
        "airflow.providers.standard.operators.latest_only": ("LatestOnlyOperator",),
        "airflow.providers.standard.operators.python": _PYTHON,
        "airflow.providers.standard.operators.trigger_dagrun": ("TriggerDagRunOperator",),
        "airflow.providers.standard.operators.weekday": ("BranchDayOfWeekOperator",),
        "airflow.providers.standard.sensors.bash": ("BashSensor",),
        "airflow.providers.standard.sensors.date_time": ("DateTimeSensor",),
        "airflow.providers.standard.sensors.external_task": ("ExternalTaskSensor",),
        "airflow.providers.standard.sensors.filesystem": ("FileSensor",),
        "airflow.providers.standard.sensors.python": ("PythonSensor",),
        "airflow.providers.standard.sensors.time": ("TimeSensor",),
        "airflow.providers.standard.sensors.time_delta": ("TimeDeltaSensor",),
        "airflow.providers.standard.sensors.weekday": ("DayOfWeekSensor",),
        "airflow.sensors.base": _SENSOR,
        "airflow.sensors.bash": ("BashSensor",),
        "airflow.sensors.date_time": ("DateTimeSensor",),
        "airflow.sensors.external_task": ("ExternalTaskSensor",),
        "airflow.sensors.filesystem": ("FileSensor",),
        "airflow.sensors.python": ("PythonSensor",),
        "airflow.sensors.time_delta": ("TimeDeltaSensor",),
        "airflow.sensors.time_sensor": ("TimeSensor",),
        "airflow.sensors.weekday": ("DayOfWeekSensor",),
        "airflow.task.trigger_rule": ("TriggerRule",),
        "airflow.utils.context": ("Context",),
        "airflow.utils.trigger_rule": ("TriggerRule",),
        "airflow.utils.weekday": ("WeekDay",),
    }
)
_PROVIDERS: Final = "airflow.providers."
_STANDARD: Final = "airflow.providers.standard."
_PACKAGES: Final = frozenset(name.rsplit(".", depth)[0] for name in MODULES for depth in range(1, name.count(".") + 1))


@contextmanager
def importable() -> Iterator[None]:
    """Let ``import airflow…`` find Windsock's classes inside; afterwards everything is as before."""
    before = _take_modules()
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)
        _take_modules()
        sys.modules.update(before)


def is_below_root(module: str) -> bool:
    """Whether a module is ``airflow``, or below it."""
    return module.partition(".")[0] == ROOT


def explanation(error: ImportError) -> tuple[str, str] | None:
    """What is missing and what to do about it, where the name was looked for below ``airflow``."""
    module = import_errors.module_of(error)
    if not is_below_root(module):
        return None
    if isinstance(error, ModuleNotFoundError):
        return _missing_module(module)
    name = import_errors.missing_from_it(error)
    return missing_name(module, name) if name else None


def _missing_module(module: str) -> tuple[str, str]:
    nothing = f"Windsock has nothing in place of Airflow's module {module!r}"
    if absent := absent_module(module):
        return f"{nothing}: {absent.what}.", absent.remedy
    hint = _near_module(module)
    if not hint and module.startswith(_PROVIDERS) and not module.startswith(_STANDARD):
        hint = "Of the providers only airflow.providers.standard is here."
    return f"{nothing}.", f"{hint} docs/authoring.md lists what there is.".strip()


def _near_module(module: str) -> str:
    """Only one beside it, since a module of another folder is another thing."""
    folder, _, name = module.rpartition(".")
    beside = [other.rpartition(".")[2] for other in (*MODULES, *_PACKAGES) if other.rpartition(".")[0] == folder]
    near = nearest(name, beside, SLIP)
    return f"Did you mean {f'{folder}.{near}'!r}?" if near else ""


def missing_name(module: str, name: str) -> tuple[str, str]:
    """What to say of a name that a module of the table, or of none, does not have."""
    if absent := absent_name(module, name):
        return f"{module} has no {name!r} here: {absent.what}.", absent.remedy
    offered = MODULES.get(module, ())
    offers = f"It offers {', '.join(offered)}." if offered else "It offers nothing by itself."
    return f"{module} has no {name!r} here.", f"{offers}{did_you_mean(name, offered, cutoff=SLIP)}"


def _take_modules() -> dict[str, ModuleType]:
    names = [name for name in sys.modules if is_below_root(name)]
    return {name: sys.modules.pop(name) for name in names}


class _Finder(MetaPathFinder, Loader):
    """Finds and makes the modules of the table."""

    def find_spec(
        self,
        fullname: str,
        path: Sequence[str] | None = None,  # noqa: ARG002
        target: ModuleType | None = None,  # noqa: ARG002
    ) -> ModuleSpec | None:
        if not is_below_root(fullname):
            return None
        if fullname in MODULES or fullname in _PACKAGES:
            return ModuleSpec(fullname, self, is_package=fullname in _PACKAGES)
        raise ModuleNotFoundError(f"No module named {fullname!r}", name=fullname)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return _Module(spec.name)

    def exec_module(self, module: ModuleType) -> None:
        """Its names are found when they are asked for."""


class _Module(ModuleType):
    """Resolves names on first use, so that no DAG file pays for operators that it does not import."""

    def __getattr__(self, name: str) -> Any:
        if name not in MODULES.get(self.__name__, ()):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}", name=name, obj=self)
        import engine

        value = getattr(engine, name)
        setattr(self, name, value)
        return value

    def __dir__(self) -> list[str]:
        return sorted({*super().__dir__(), *MODULES.get(self.__name__, ())})

"""The sensors that need nothing but Python: functions, commands, files, moments and days."""

from __future__ import annotations

import glob
import os
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from engine.authoring import arguments
from engine.authoring.bash import SHELL
from engine.authoring.exceptions import AirflowFailException, AuthoringError
from engine.authoring.python import CallingOperator
from engine.authoring.sensors import BaseSensorOperator, PokeReturnValue
from engine.authoring.weekdays import weekday_numbers
from engine.authoring.zones import aware, zone_named

if TYPE_CHECKING:
    from engine.authoring.context import Context


class PythonSensor(CallingOperator, BaseSensorOperator):
    """Waits until a function returns something true, or a :class:`PokeReturnValue` that is done."""

    def poke(self, context: Context) -> bool | PokeReturnValue:
        """Call the function."""
        found = self.call(context)
        return found if isinstance(found, PokeReturnValue) else bool(found)


class BashSensor(BaseSensorOperator):
    """Waits until a command exits with 0. One that exits with `retry_exit_code`, or without that any, is run again."""

    template_fields = ("bash_command", "env")
    template_ext = (".sh", ".bash")

    def __init__(
        self,
        *,
        bash_command: str,
        env: dict[str, str] | None = None,
        output_encoding: str = "utf-8",
        retry_exit_code: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.bash_command = arguments.text("bash_command", bash_command)
        self.env = env
        self.output_encoding = output_encoding
        self.retry_exit_code = retry_exit_code

    def poke(self, context: Context) -> bool:
        """Run the command."""
        import subprocess

        from engine.authoring.templating import command_environment

        environment = command_environment(context, self.env, append=False, inherited=os.environ)
        code = subprocess.run([SHELL, "-c", self.bash_command], env=environment, check=False).returncode
        if code and self.retry_exit_code is not None and code != self.retry_exit_code:
            raise AirflowFailException(f"The command exited with {code}, not with {self.retry_exit_code}.")
        return not code


class FileSensor(BaseSensorOperator):
    """Waits for a file, or a folder with a file in it. `filepath` may hold wildcards, ``**`` with `recursive`."""

    template_fields = ("filepath",)

    def __init__(
        self, *, filepath: str, fs_conn_id: str = "fs_default", recursive: bool = False, **kwargs: Any
    ) -> None:
        super().__init__(**kwargs)
        if fs_conn_id != "fs_default":
            msg = f"fs_conn_id={fs_conn_id!r}: connections are not supported."
            raise AuthoringError(msg, "Write the whole path into filepath.")
        self.filepath = arguments.text("filepath", os.fspath(filepath))
        self.recursive = bool(recursive)

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Look for it."""
        for found in glob.glob(self.filepath, recursive=self.recursive):  # noqa: PTH207 - absolute patterns too
            path = Path(found)
            if path.is_file() or any(files for _, _, files in os.walk(path)):
                return True
        return False


class TimeSensor(BaseSensorOperator):
    """Waits until a time of the day, in the DAG's time zone, on the day on which it first looks."""

    def __init__(self, *, target_time: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, time):
            msg = f"target_time of {self.task_id!r} must be a time, not {target_time!r}."
            raise AuthoringError(msg, "Write target_time=time(6, 30), from datetime import time.")
        self.target_time: time = target_time

    def poke(self, context: Context) -> bool:
        """Compare with the clock."""
        zone = self.target_time.tzinfo or self.dag.timezone
        first = context.record.sensing_since or context.record.start_date or datetime.now(UTC)
        target = datetime.combine(first.astimezone(zone).date(), self.target_time.replace(tzinfo=None), zone)
        return datetime.now(UTC) >= target


class DateTimeSensor(BaseSensorOperator):
    """Waits until a moment: a datetime, or a template that renders to ISO 8601."""

    template_fields = ("target_time",)

    def __init__(self, *, target_time: Any, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        if not isinstance(target_time, (datetime, str)):
            msg = f"target_time of {self.task_id!r} must be a datetime or a string, not {target_time!r}."
            raise AuthoringError(msg, "Write a datetime, or a template: target_time='{{ data_interval_end }}'.")
        self.target_time = target_time if isinstance(target_time, str) else target_time.isoformat()

    def poke(self, context: Context) -> bool:  # noqa: ARG002
        """Compare with the clock."""
        target = aware(datetime.fromisoformat(self.target_time), zone_named("UTC"))
        return datetime.now(UTC) > target


class TimeDeltaSensor(BaseSensorOperator):
    """Waits until `delta` after the end of the run's data interval."""

    def __init__(self, *, delta: timedelta, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.delta = arguments.duration("delta", delta) or timedelta(0)

    def poke(self, context: Context) -> bool:
        """Compare with the clock."""
        record = context.record
        return datetime.now(UTC) > (record.data_interval_end or record.run_after) + self.delta


class DayOfWeekSensor(BaseSensorOperator):
    """Waits for a day of the week."""

    def __init__(self, *, week_day: Any, use_task_logical_date: bool = False, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.week_day = week_day
        self.use_task_logical_date = bool(use_task_logical_date)
        self._days = weekday_numbers(week_day)

    def poke(self, context: Context) -> bool:
        """Look at the calendar."""
        moment = context.logical_date if self.use_task_logical_date else datetime.now(UTC)
        return moment.isoweekday() in self._days

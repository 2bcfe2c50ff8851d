"""BashOperator: a shell command."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from engine.authoring.exceptions import AirflowSkipException, AuthoringError, CommandFailed
from engine.authoring.operator import BaseOperator
from engine.authoring.serialized import BashSpec, OperatorKind
from engine.authoring.xcom_arg import XComArg

if TYPE_CHECKING:
    from engine.authoring.context import Context

SHELL = "bash"


class BashOperator(BaseOperator):
    """Runs ``bash -c bash_command``; exit status 0 is success, one of `skip_on_exit_code` skips the task.

    A command that ends in ``.sh`` or ``.bash`` names a template file beside the DAG file; put a blank behind it to run
    a script as it is. With `env` the command sees those variables only, unless `append_env` is true.
    """

    template_fields = ("bash_command", "env", "cwd")
    template_ext = (".sh", ".bash")
    kind: ClassVar[OperatorKind] = "bash"

    def __init__(
        self,
        *,
        bash_command: str | XComArg,
        env: dict[str, Any] | None = None,
        append_env: bool = False,
        cwd: str | None = None,
        skip_on_exit_code: int | Iterable[int] | None = 99,
        output_encoding: str = "utf-8",
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        if not isinstance(bash_command, (str, XComArg)) or not bash_command:
            msg = f"bash_command of {self.task_id!r} must be a command, not {bash_command!r}."
            raise AuthoringError(msg, "Write a string that is not empty, such as bash_command='echo hello'.")
        self.bash_command = bash_command
        self.env = _environment(self.task_id, env)
        self.append_env = bool(append_env)
        self.cwd = None if cwd is None else os.fspath(cwd)
        self.skip_on_exit_code = _exit_codes(skip_on_exit_code)
        self.output_encoding = output_encoding

    def spec(self) -> BashSpec:
        """The serialised form, in which outputs of other tasks have become templates."""
        return BashSpec(
            bash_command=str(self.bash_command),
            env=None if self.env is None else {name: str(value) for name, value in self.env.items()},
            append_env=self.append_env,
            cwd=self.cwd,
            skip_on_exit_code=self.skip_on_exit_code,
        )

    def execute(self, context: Context) -> str:
        """Run the command from Python, for subclasses: returns its last line of output."""
        from engine.authoring.templating import command_environment

        command = [SHELL, "-c", str(self.bash_command)]
        environment = command_environment(context, self.env, self.append_env, os.environ)
        last = ""
        with subprocess.Popen(
            command, env=environment, cwd=self.cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process:
            for line in process.stdout or ():
                last = line.decode(self.output_encoding, "backslashreplace").rstrip("\n")
                print(last, flush=True)  # noqa: T201 - standard output is the attempt's log
        self._judge(process.returncode, last)
        return last

    def _judge(self, exit_code: int, last_line: str) -> None:
        if exit_code in self.skip_on_exit_code:
            raise AirflowSkipException(f"exited with code {exit_code}, which means skip")
        if exit_code:
            raise CommandFailed(exit_code, last_line)


def _environment(task_id: str, env: dict[str, Any] | None) -> dict[str, Any] | None:
    for name, value in (env or {}).items():
        if not isinstance(name, str) or not isinstance(value, (str, XComArg)):
            msg = f"env[{name!r}] of task {task_id!r} must be a string, not {value!r}."
            raise AuthoringError(msg, f"Write {str(value)!r}.")
    return None if env is None else dict(env)


def _exit_codes(value: object) -> tuple[int, ...]:
    if value is None:
        return ()
    codes = (value,) if isinstance(value, int) else tuple(value) if isinstance(value, Iterable) else ("",)
    if not all(isinstance(code, int) and 0 < code < 256 for code in codes):
        msg = f"skip_on_exit_code={value!r} must be exit codes from 1 to 255."
        raise AuthoringError(msg, "Write one, as in skip_on_exit_code=99, or several: skip_on_exit_code=[99, 100].")
    return tuple(code for code in codes if isinstance(code, int))

"""Starting a program without a fork, and yet tied to this process's life.

A fork copies the page tables of a Python process and then, page by page, what it touches: twice the cost of the shell
that it becomes. posix_spawn shares the memory until the exec and costs none of that, but it cannot ask the kernel to
kill the child together with its parent (PR_SET_PDEATHSIG), which must be asked for by the child itself. So what is
spawned is a program of some 200 bytes, kept in memory, that asks for it, makes itself the reaper of what it will leave
behind, and becomes the program proper::

    b8 9d000000      mov  eax, 157            prctl(
    bf 24000000      mov  edi, 36               PR_SET_CHILD_SUBREAPER,
    be 01000000      mov  esi, 1                1)
    0f 05            syscall
    b8 9d000000      mov  eax, 157            prctl(
    bf 01000000      mov  edi, 1                PR_SET_PDEATHSIG,
    be 09000000      mov  esi, 9                SIGKILL)
    0f 05            syscall
    b8 6e000000      mov  eax, 110            getppid()
    0f 05            syscall
    3d PARENT        cmp  eax, PARENT         not us any more: we died before the prctl
    75 1a            jne  away
    48 8b 7c 24 08   mov  rdi, [rsp+8]        execve(argv[0],
    48 8d 74 24 10   lea  rsi, [rsp+16]         argv + 1,
    48 8b 04 24      mov  rax, [rsp]
    48 8d 54 c4 10   lea  rdx, [rsp+rax*8+16]   environ)
    b8 3b000000      mov  eax, 59
    0f 05            syscall
    bf 7f000000      away: mov edi, 127       exit(127)
    b8 3c000000      mov  eax, 60
    0f 05            syscall

Where that cannot work (another kind of processor, a system that forbids programs in memory) :func:`is_usable` says so,
and programs are started by fork and exec. Imported by zygotes: keep it slim.
"""

from __future__ import annotations

import os
import platform
import signal
import struct
from collections.abc import Mapping, Sequence
from typing import Final

from engine.running import file_limit

_CODE: Final = (
    "b89d000000 bf24000000 be01000000 0f05"
    "b89d000000 bf01000000 be09000000 0f05 b86e000000 0f05 3d{parent} 751a"
    "488b7c2408 488d742410 488b0424 488d54c410 b83b000000 0f05 bf7f000000 b83c000000 0f05"
)
_CANNOT_START: Final = 127
_ADDRESS: Final = 0x400000
_HEADERS: Final = 64 + 56  # of an ELF file, and of its only segment
FOLDER_MODE: Final = 0o700
_DEFAULT_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR2, signal.SIGPIPE, signal.SIGXFSZ)


class Launcher:
    """Spawns programs that die with this process. It must have one thread: it changes its folder for a moment."""

    def __init__(self) -> None:
        self._program = os.memfd_create("launcher", os.MFD_CLOEXEC)
        os.write(self._program, _executable(os.getpid()))
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._home = os.open(".", os.O_PATH | os.O_CLOEXEC)

    def spawn(self, program: str, argv: Sequence[str], env: Mapping[str, str], folder: str, output: int) -> int:
        """Start `program` in a session of its own, in `folder`; returns its pid. `output` takes both streams.

        `output` must not be one of our own standard streams.
        Raises OSError where no process could be made.
        """
        enter(folder)
        file_limit.restore()
        try:
            return self._spawn(program, argv, env, output)
        finally:
            file_limit.lift()
            os.fchdir(self._home)

    def _spawn(self, program: str, argv: Sequence[str], env: Mapping[str, str], output: int) -> int:
        streams = [(os.POSIX_SPAWN_DUP2, here, there) for there, here in enumerate((self._null, output, output))]
        return os.posix_spawn(
            f"/proc/self/fd/{self._program}",
            [program, *argv],
            env,
            file_actions=[*streams, (os.POSIX_SPAWN_CLOSE, output)],  # recv_fds() leaves it inheritable
            setsid=True,
            setsigmask=(),
            setsigdef=_DEFAULT_SIGNALS,
        )

    def try_out(self) -> bool:
        """Whether the small program itself runs: given what is no program, it says so."""
        pid = self._spawn(os.devnull, [""], {}, self._null)
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == _CANNOT_START

    def close(self) -> None:
        for fd in (self._program, self._null, self._home):
            os.close(fd)


def enter(folder: str) -> None:
    """Make `folder` this process's working directory, and make it first where it is missing. Raises OSError."""
    try:
        os.chdir(folder)
    except FileNotFoundError:
        os.makedirs(folder, mode=FOLDER_MODE)  # noqa: PTH103 - on the way of every attempt
        os.chdir(folder)


def is_usable() -> bool:
    """Whether this system lets programs be started so."""
    if platform.machine() != "x86_64":
        return False
    launcher = Launcher()
    try:
        return launcher.try_out()
    except (OSError, NotImplementedError):
        return False
    finally:
        launcher.close()


def _executable(parent: int) -> bytes:
    code = bytes.fromhex(_CODE.format(parent=struct.pack("<I", parent).hex()))
    size = _HEADERS + len(code)
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    elf = struct.pack("<HHIQQQIHHHHHH", 2, 62, 1, _ADDRESS + _HEADERS, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    segment = struct.pack("<IIQQQQQQ", 1, 5, 0, _ADDRESS, _ADDRESS, size, size, 0x1000)
    return identity + elf + segment + code

"""How far the kernel believes its clock to be off: what a time service tells it by adjtimex(2)."""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

_ADJ_OFFSET, _ADJ_STATUS, _ADJ_TIMECONST = 0x1, 0x10, 0x20
_STA_PLL, _STA_FREQHOLD, _STA_NANO = 0x1, 0x80, 0x2000
_SLOWEST = 10


class _Timex(ctypes.Structure):
    """struct timex, as far as it is used here."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("constant", ctypes.c_long),
        ("rest", ctypes.c_char * 256),
    )


@contextmanager
def believed_off(seconds: float) -> Iterator[None]:
    """Tell the kernel so, and at the end that all is as before; at most half a second, which is the kernel's own limit.

    It corrects what it believes by a 4096th a second, so a minute of a fifth of a second moves the clock by 3 ms.
    """
    before = _adjust(_Timex())
    try:
        _adjust(
            _Timex(
                modes=_ADJ_OFFSET | _ADJ_STATUS | _ADJ_TIMECONST,
                offset=int(seconds * (1e9 if before.status & _STA_NANO else 1e6)),
                status=before.status | _STA_PLL | _STA_FREQHOLD,
                constant=_SLOWEST,
            )
        )
        yield
    finally:
        _adjust(_Timex(modes=_ADJ_OFFSET | _ADJ_TIMECONST, offset=0, constant=before.constant))
        _adjust(_Timex(modes=_ADJ_STATUS, status=before.status))


def _adjust(timex: _Timex) -> _Timex:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.adjtimex(ctypes.byref(timex)) < 0:
        pytest.skip(f"the kernel's clock cannot be told anything: {os.strerror(ctypes.get_errno())}")
    return timex

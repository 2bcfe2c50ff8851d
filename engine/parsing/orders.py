"""What the processor tells a parse process, and what it hears back."""

from __future__ import annotations

import msgspec

from engine.authoring.defaults import Defaults
from engine.authoring.faults import Fault
from engine.logs.cleaning import clean, one_line


class ParseOrder(msgspec.Struct, frozen=True):
    """Parse one file. After `timeout_seconds` the process says where it stands and ends itself."""

    path: str
    dags_folder: str
    timeout_seconds: float
    defaults: Defaults


class ParsedDag(msgspec.Struct, frozen=True):
    """One serialised DAG: `data` is its canonical JSON, `version` the identity of that."""

    dag_id: str
    version: str
    data: str
    line: int | None = None


class ParseReport(msgspec.Struct, frozen=True):
    """What a parse process found.

    `sources` are the files of the DAG folder that the DAG file imported or looked for (engine.parsing.sought), `reads`
    what else it was made of (engine.parsing.reads); `asks` says that it asked somebody whose answer may be another the
    next time.
    """

    dags: list[ParsedDag]
    faults: list[Fault]
    seconds: float
    sources: list[str] = []
    reads: dict[str, tuple[int, int]] = {}
    asks: bool = False


def presentable(fault: Fault) -> Fault:
    """A fault as any wire, database, terminal and page takes it: it quotes what user code wrote."""
    return Fault(one_line(fault.summary), one_line(fault.remedy), fault.line, clean(fault.story), fault.dag_id)


encode_order = msgspec.msgpack.Encoder().encode
decode_order = msgspec.msgpack.Decoder(ParseOrder).decode
encode_report = msgspec.msgpack.Encoder().encode
decode_report = msgspec.msgpack.Decoder(ParseReport).decode

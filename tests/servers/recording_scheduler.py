"""A scheduler that keeps a record of what it sends: ``python -m tests.servers.recording_scheduler FILE``.

At its end FILE holds a pickled list of :class:`Sent`.
"""

from __future__ import annotations

import pickle
import sys
from collections.abc import Sequence
from pathlib import Path

from engine import config
from engine.logs import own
from engine.metastore.store import Store
from engine.scheduling.scheduler import Scheduler
from tests.servers.recording import Sent, recorded


def read(file: Path) -> Sequence[Sent]:
    """What a scheduler that has ended has sent."""
    sent: list[Sent] = pickle.loads(file.read_bytes())
    return sent


def main(file: Path) -> int:
    """Schedule until told to stop."""
    settings = config.load()
    own.start(settings.logging.logging_level)
    store = Store.from_settings(settings)
    with recorded(store) as sent:
        status = Scheduler(settings, store).run()
    file.write_bytes(pickle.dumps(sent))
    return status


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

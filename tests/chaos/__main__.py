"""``python -m tests.chaos``: schedulers, supervisors and the database are killed while they work (``make chaos``)."""

from __future__ import annotations

import argparse
import random
import sys

from tests.chaos.arena import SERVERS
from tests.chaos.battle import fight

PER_SECOND = 10  # slower than this is a failure


def main() -> int:
    """Exit status 1 where anything was lost, done twice or over a limit."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seed", type=int, help="repeats the order of kills of an earlier run; random by default")
    parser.add_argument("--attempts", type=int, default=100_000, help="task attempts, about (default 100000)")
    parser.add_argument("--schedulers", type=int, default=3)
    parser.add_argument("--database", choices=sorted(SERVERS), default="postgresql")
    parser.add_argument("--quiet", action="store_true", help="tell the verdict only")
    arguments = parser.parse_args()
    seed = random.randrange(2**31) if arguments.seed is None else arguments.seed
    _tell(f"seed {seed}")
    server = SERVERS[arguments.database]()
    try:
        verdict = fight(
            server,
            seed=seed,
            attempts=arguments.attempts,
            schedulers=arguments.schedulers,
            patience=60 + arguments.attempts / PER_SECOND,
            tell=(lambda _: None) if arguments.quiet else _tell,
        )
    finally:
        server.stop()
    _tell(f"{arguments.database}, seed {seed}: {verdict}")
    return 1 if verdict.wrong else 0


def _tell(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

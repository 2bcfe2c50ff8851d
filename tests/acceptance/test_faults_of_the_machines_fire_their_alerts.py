"""A machine's disk, inodes, memory and processors are used up, and its clock is off: their alerts fire, no other does.

The file systems are real and really full, the kernel really kills a process for want of memory and really believes its
clock to be off. Of free memory and of the load the node exporter is shown other numbers. Time is hurried thirtyfold.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.servers.hurried import Fault, RulesOnly
from tests.servers.kernel_clock import believed_off
from tests.servers.processes import wait_until
from tests.servers.shown_machine import ShownMachine, run_out_of_memory

pytestmark = [pytest.mark.timeout(180), pytest.mark.usefixtures("goes_first")]


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ShownMachine]:
    made = ShownMachine(tmp_path_factory.mktemp("machine"))
    yield made
    made.stop()


@pytest.fixture(scope="module")
def prometheus(shown: ShownMachine) -> Iterator[RulesOnly]:
    made = RulesOnly({"node": [f"127.0.0.1:{shown.port}"]}, ("machines",))
    made.start()
    wait_until(lambda: made.answers('up{job="node"} == 1'), "the first scrape", 30)
    yield made
    made.stop()


def test_a_machine_whose_disk_inodes_memory_and_processors_are_used_up(
    shown: ShownMachine, prometheus: RulesOnly
) -> None:
    fault = Fault(
        prometheus,
        (
            "WindsockDiskFull",
            "WindsockDiskFilling",
            "WindsockInodesFilling",
            "WindsockMemoryLow",
            "WindsockOutOfMemoryKills",
            "WindsockCpuSaturated",
        ),
    )
    shown.fill_disk()
    shown.fill_inodes()
    shown.have_memory(0.05)
    shown.have_load(3)
    run_out_of_memory()
    fault.fires(60)
    shown.clean()
    shown.have_memory(0.5)
    shown.have_load(0.1)
    fault.resolves(60)


def test_a_clock_that_the_kernel_believes_to_be_off(prometheus: RulesOnly) -> None:
    fault = Fault(prometheus, ("WindsockClockOff",))
    with believed_off(0.3):
        fault.fires(40)
    fault.resolves(40)

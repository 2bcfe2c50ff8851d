from __future__ import annotations

from pathlib import Path

import pytest

from engine.parsing.agenda import Agenda
from engine.parsing.folder import Listing, SourceFile
from engine.parsing.sought import sought_by


def listing(touched: int = 0, **editions: int) -> Listing:
    """Files by name and edition of their content; those in capitals are no DAG files. `touched` is their time."""
    return Listing(
        {
            name: SourceFile(name, name, "/", (touched, 1), f"hash of {edition}", name.islower())
            for name, edition in editions.items()
        }
    )


@pytest.fixture
def agenda() -> Agenda:
    return Agenda(min_interval=30.0)


def parse(agenda: Agenda, now: float, *sources: str) -> str | None:
    state = agenda.take(now)
    if state is None:
        return None
    agenda.finished(state.file.path, now, sources)
    return state.file.path


def test_new_files_come_first_and_then_nothing_until_the_interval_is_over(agenda: Agenda) -> None:
    agenda.update(listing(a=1, b=1))
    assert [parse(agenda, 0.0), parse(agenda, 1.0), parse(agenda, 29.9)] == ["a", "b", None]
    assert agenda.next_time == 30.0
    assert [parse(agenda, 31.0), parse(agenda, 31.0), parse(agenda, 31.0)] == ["a", "b", None]


def test_a_changed_file_is_taken_at_once(agenda: Agenda) -> None:
    agenda.update(listing(a=1, b=1))
    parse(agenda, 0.0), parse(agenda, 0.0)
    agenda.update(listing(a=1, b=2))
    assert [parse(agenda, 1.0), parse(agenda, 1.0)] == ["b", None]


def test_a_file_that_is_only_touched_is_not_taken(agenda: Agenda) -> None:
    agenda.update(listing(a=1, HELPER=1))
    parse(agenda, 0.0, "HELPER")
    agenda.update(listing(touched=1, a=1, HELPER=1))
    assert agenda.take(1.0) is None


def test_a_file_that_cannot_be_read_is_known_by_its_time(agenda: Agenda) -> None:
    def unreadable(touched: int) -> Listing:
        return Listing({"a": SourceFile("a", "a", "/", (touched, 1), None, True)})

    agenda.update(unreadable(1))
    parse(agenda, 0.0)
    agenda.update(unreadable(1))
    assert agenda.take(1.0) is None
    agenda.update(unreadable(2))
    assert agenda.take(1.0) is not None


def test_a_change_of_what_a_file_imports_counts_as_its_own(agenda: Agenda) -> None:
    agenda.update(listing(a=1, b=1, HELPER=1))
    assert parse(agenda, 0.0, "HELPER") == "a"
    parse(agenda, 0.0)
    agenda.update(listing(a=1, b=1, HELPER=2))
    assert [parse(agenda, 1.0, "HELPER"), parse(agenda, 1.0)] == ["a", None]
    agenda.update(listing(a=1, b=1))
    assert parse(agenda, 2.0) == "a"


@pytest.mark.parametrize("name", ["names.py", "names/__init__.py"])
def test_a_file_that_lacks_a_module_is_taken_at_once_when_it_is_there(
    agenda: Agenda, tmp_path: Path, name: str
) -> None:
    sought = [str(tmp_path / "names"), str(tmp_path / "names.py")]
    agenda.update(listing(a=1, b=1))
    assert [parse(agenda, 0.0, *sought), parse(agenda, 0.0)] == ["a", "b"]
    (tmp_path / "names_of_others.py").touch()
    agenda.update(listing(a=1, b=1))
    assert parse(agenda, 1.0) is None
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    agenda.update(listing(a=1, b=1))
    assert [parse(agenda, 2.0, *sought), parse(agenda, 2.0)] == ["a", None]
    agenda.update(listing(a=1, b=1))
    assert parse(agenda, 3.0) is None


def test_a_package_that_comes_while_a_file_that_lacks_it_is_parsed_is_news_afterwards(
    agenda: Agenda, tmp_path: Path
) -> None:
    missing = ModuleNotFoundError("No module named 'names'", name="names")
    inside = str(tmp_path / "names" / "__init__.py")
    agenda.update(listing(a=1))
    assert agenda.take(0.0)
    (tmp_path / "names").mkdir()
    (tmp_path / "names" / "__init__.py").touch()
    agenda.finished("a", 1.0, sorted(sought_by(missing, str(tmp_path))))
    agenda.update(Listing({**listing(a=1).files, inside: SourceFile(inside, inside, "/", (1, 1), "its hash", False)}))
    assert parse(agenda, 2.0) == "a"


def test_a_file_that_changes_while_it_is_parsed_is_parsed_again_afterwards(agenda: Agenda) -> None:
    agenda.update(listing(a=1))
    assert agenda.take(0.0) is not None
    agenda.update(listing(a=2))
    assert agenda.take(0.5, running={"a"}) is None
    agenda.finished("a", 1.0)
    assert parse(agenda, 1.0) == "a"


def test_files_that_are_gone_are_told_and_forgotten(agenda: Agenda) -> None:
    agenda.update(listing(a=1, b=1))
    assert agenda.take(0.0) is not None
    assert agenda.update(listing(b=1)) == ["a"]
    assert agenda.finished("a", 1.0) is None
    assert [parse(agenda, 1.0), parse(agenda, 1.0)] == ["b", None]


def test_a_file_can_be_asked_for_again(agenda: Agenda) -> None:
    agenda.update(listing(a=1))
    parse(agenda, 0.0)
    agenda.again("a")
    agenda.again("unknown")
    assert agenda.waiting == 1
    assert parse(agenda, 0.1) == "a"


def test_a_file_parsed_early_is_due_an_interval_later_and_once(agenda: Agenda) -> None:
    agenda.update(listing(a=1))
    parse(agenda, 0.0)
    agenda.again("a")
    parse(agenda, 20.0)
    assert [parse(agenda, 31.0), parse(agenda, 50.0), parse(agenda, 50.0)] == [None, "a", None]


def test_files_that_hang_wait_for_the_others_and_leave_them_a_place(agenda: Agenda) -> None:
    agenda.update(listing(a=1, b=1, c=1))
    for _ in range(3):
        parse(agenda, 0.0)
    for name in "ab":
        agenda.states[name].hangs = True
    taken = [agenda.take(31.0), agenda.take(31.0), agenda.take(31.0, running={"a", "c"}, last_place=True)]
    assert [state and state.file.name for state in taken] == ["c", "a", None]
    assert agenda.has_due(31.0)
    agenda.update(listing(a=1, b=2, c=1))
    changed = agenda.take(31.0, running={"a"}, last_place=True)
    assert changed is not None
    assert changed.file.name == "b"


def steady(agenda: Agenda, now: float, gave: object = "the same", **reads: tuple[int, int]) -> float | None:
    """Parse what is due; when it is due again."""
    state = agenda.take(now)
    if state is None:
        return None
    agenda.finished(state.file.path, now, reads=reads, gave=gave)
    return state.due_at


def test_a_file_that_gives_the_same_again_waits_twice_as_long_each_time_up_to_the_longest() -> None:
    agenda = Agenda(min_interval=30.0, max_interval=100.0)
    agenda.update(listing(a=1))
    assert [steady(agenda, now) for now in (0.0, 30.0, 90.0, 190.0)] == [30.0, 90.0, 190.0, 290.0]
    assert agenda.longest_interval == 100.0


def test_what_gives_something_else_or_may_do_so_at_any_time_keeps_its_interval() -> None:
    agenda = Agenda(min_interval=30.0, max_interval=100.0)
    agenda.update(listing(a=1))
    given = ((0.0, "x"), (30.0, "x"), (90.0, "y"), (120.0, None), (150.0, None))
    assert [steady(agenda, now, gave) for now, gave in given] == [30.0, 90.0, 120.0, 150.0, 180.0]


def test_a_longest_interval_below_the_interval_changes_nothing() -> None:
    agenda = Agenda(min_interval=30.0, max_interval=0.0)
    agenda.update(listing(a=1))
    assert [steady(agenda, now) for now in (0.0, 30.0, 60.0)] == [30.0, 60.0, 90.0]


def test_a_file_that_changes_begins_with_the_shortest_interval_again() -> None:
    agenda = Agenda(min_interval=30.0, max_interval=100.0)
    agenda.update(listing(a=1))
    steady(agenda, 0.0), steady(agenda, 30.0)
    agenda.update(listing(a=2))
    assert steady(agenda, 31.0) == 61.0


def test_a_file_is_due_at_once_when_what_it_reads_changes_after_the_shortest_interval() -> None:
    agenda = Agenda(min_interval=30.0, max_interval=100.0)
    agenda.update(listing(a=1))
    steady(agenda, 0.0), steady(agenda, 30.0, settings=(1, 1))
    assert agenda.reads == {"settings"}
    agenda.update(listing(a=1), {"settings": (1, 1)})
    assert agenda.take(65.0) is None
    agenda.update(listing(a=1), {"settings": (2, 1)})
    assert steady(agenda, 65.0, settings=(2, 1)) == 95.0


def test_a_file_that_changes_what_it_reads_is_not_parsed_at_every_look() -> None:
    agenda = Agenda(min_interval=30.0, max_interval=100.0)
    agenda.update(listing(a=1))
    for edition in range(3):
        assert steady(agenda, 30.0 * edition, counter=(edition, 1)) is not None
        agenda.update(listing(a=1), {"counter": (edition + 1, 1)})
        assert agenda.take(30.0 * edition + 29.0) is None

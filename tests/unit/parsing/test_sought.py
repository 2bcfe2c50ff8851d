"""What a DAG file that broke has looked for, whatever it raised: whoever asks is the handler of its error."""

from __future__ import annotations

import pytest

from engine.parsing.sought import sought_by


def an_error(kind: type[ImportError], message: object, name: object) -> ImportError:
    """As a DAG file may raise it, which nobody checks."""
    error = kind()
    error.msg, error.name = message, name  # type: ignore[assignment]
    return error


def paths(module: str) -> set[str]:
    return {f"/d/{module}", f"/d/{module}.py", f"/d/{module}/__init__.py"}


@pytest.mark.parametrize(
    ("error", "module"),
    [
        (ModuleNotFoundError("No module named 'a.b'", name="a.b"), "a/b"),
        (ImportError("cannot import name 'b' from 'a' (/d/a/__init__.py)", name="a"), "a/b"),
    ],
)
def test_a_module_may_come_as_a_file_or_as_a_folder_with_its_own(error: ImportError, module: str) -> None:
    assert sought_by(error, "/d") == paths(module)


@pytest.mark.parametrize("name", [None, "", 7, ["a"]])
def test_a_name_that_is_no_text_names_no_module(name: object) -> None:
    assert sought_by(an_error(ImportError, "cannot import name 'b'", name), "/d") == set()
    assert sought_by(an_error(ModuleNotFoundError, "No module named 'b'", name), "/d") == set()


@pytest.mark.parametrize("message", [None, OSError("'b'"), "", "no quotes", "it isn't there", "a '' b", "see '../x'"])
def test_a_message_that_quotes_no_name_names_no_module(message: object) -> None:
    assert sought_by(an_error(ImportError, message, "os"), "/d") == set()


@pytest.mark.parametrize("filename", [None, 7, b"/d/x.py"])
def test_a_syntax_error_of_no_file_leads_to_none(filename: object) -> None:
    assert sought_by(SyntaxError("bad", (filename, 1, 1, "text")), "/d") == set()

"""Pages at the width of a phone, laid out by Chromium where there is one."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from engine.web import app
from tests.integration.web.world import World

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
STYLE = Path(app.__file__).parent / "static" / "windsock.css"
PHONE = 390  # CSS pixels

# The page in a frame of that width: a window of Chromium cannot be as narrow as a phone.
FRAME = """<body><iframe style="width:{width}px;height:3000px;border:0" srcdoc="{page}"></iframe>
<script>addEventListener("load", () => {{
  document.body.dataset.wide = document.querySelector("iframe").contentDocument.documentElement.scrollWidth;
}});</script></body>"""


def width_of(page: str, folder: Path) -> int:
    """How wide a page is that has a phone's width for itself: more than that where it scrolls sideways."""
    assert CHROMIUM is not None
    styled = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    styled = styled.replace("</head>", f"<style>{STYLE.read_text()}</style></head>")
    file = folder / "frame.html"
    file.write_text(FRAME.format(width=PHONE, page=html.escape(styled)))
    words = ("--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}", "--dump-dom")
    done = subprocess.run([CHROMIUM, *words, file.as_uri()], capture_output=True, text=True, timeout=120, check=True)
    found = re.search(r'data-wide="(\d+)"', done.stdout)
    assert found, done.stdout[-500:]
    return int(found[1])


@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")
@pytest.mark.parametrize("long", ["path", "error_summary", "error_remedy", "error"])
def test_import_errors_do_not_scroll_sideways_on_a_phone(
    look: Callable[[str], str], world: World, tmp_path: Path, long: str
) -> None:
    told: dict[str, Any] = {"path": "/a.py", "error_summary": "no", "error_remedy": "do", "error": "Traceback"}
    world.broken_file(
        **told | {long: "/a_word_without_a_place_where_it_could_be_broken_in_two_at_all.py"}, error_line=17
    )
    page = look("/import-errors").replace("<details", "<details open")
    assert width_of(page, tmp_path) == PHONE

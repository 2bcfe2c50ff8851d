"""The golden files of rendered messages, and pictures of them: made here, compared by the tests, looked at by people.

``python -m tests.goldens`` writes tests/data/golden_messages anew; with ``--pictures`` also docs/pictures, for which it
needs Chromium. The pictures of chat are drawn from what each service gets, by a page of our own: they show what stands
where, and not the very look of each service's client.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from msgspec import structs

from alerting import samples
from alerting.channels import Link, Message
from alerting.events import AlertEvent
from alerting.kinds import EventKind
from alerting.preview import FORMATS, page
from alerting.render import Renderer

ROOT: Final = Path(__file__).parents[1]
FOLDER: Final = ROOT / "tests" / "data" / "golden_messages"
PICTURES: Final = ROOT / "docs" / "pictures"
IN_FULL: Final = (EventKind.TASK_FAILED, EventKind.TASK_RECOVERED, EventKind.SLA_MISSED)  # as JSON of each service
_TO: Final = ("oncall@example.com",)
_WEB: Final = "https://windsock.example.com"
_SHOW: Final = "windsock alerts show 17.1"


def _links(event: AlertEvent) -> Iterator[Link]:
    """Those that an installation with Grafana gives."""
    if event.task_id:
        yield Link("Run", f"{_WEB}/dags/daily_report/runs/scheduled__2026-11-22T00%3A00%3A00%2B00%3A00")
    if event.dag_id:
        board = "https://grafana.example.com/d/windsock-dag"
        yield Link("Board", f"{board}?from=1795394647000&to=1795400947000&var-dag=daily_report")
    if event.kind is EventKind.TASK_FAILED:
        yield Link("Runbook", f"{_WEB}/runbooks/WindsockTaskFailures.md")


def _page(events: Sequence[AlertEvent]) -> str:
    return f"{_WEB}/alerts/{events[0].number}" if len(events) == 1 else f"{_WEB}/alerts"


RENDERER: Final = Renderer(samples.tail, str, read_history=samples.history, find_links=_links, find_page=_page)


def messages() -> dict[str, Message]:
    """One of each kind, a deadline of a task that has not started, and several events that are told together."""
    told = {kind.value: RENDERER.render(_numbered(samples.event(kind)), _TO) for kind in EventKind}
    told["sla_not_started"] = RENDERER.render(_numbered(samples.not_started()), _TO)
    waves = {"wave": samples.wave(), "wave_mixed": samples.mixed_wave(), "wave_recovered": samples.good_wave()}
    return told | {name: RENDERER.render_wave(_all_numbered(wave), _TO, _SHOW) for name, wave in waves.items()}


def _all_numbered(events: Sequence[AlertEvent]) -> list[AlertEvent]:
    return [_numbered(event, number) for number, event in enumerate(events, start=17)]


def _numbered(event: AlertEvent, number: int = 17) -> AlertEvent:
    return structs.replace(event, number=number)


def goldens() -> dict[str, str]:
    """File name → text."""
    made: dict[str, str] = {}
    for name, message in messages().items():
        made[f"{name}.text"] = FORMATS["text"](message)
        made[f"{name}.chat"] = FORMATS["chat"](message)
        if name in IN_FULL or name.startswith("wave"):
            made[f"{name}.html"] = message.html
            services = set(FORMATS) - {"text", "html", "chat"}
            made |= {f"{name}.{service}.json": FORMATS[service](message) for service in services}
    return made


# -- pictures


def _shown(name: str, message: Message) -> Mapping[str, tuple[str, int, int, bool]]:
    """File name → page, width, height, dark."""
    mail = page(message)
    chat = chat_page(message)
    match name:
        case "task_failed":
            return {
                "mail.png": (mail, 760, 1260, False),
                "mail-dark.png": (mail, 760, 1260, True),
                "mail-phone.png": (mail, 360, 1480, False),
                "mail-text.png": (_text_page(FORMATS["text"](message)), 760, 900, False),
                "chat.png": (chat, 1_180, 1_290, False),
            }
        case "task_recovered":
            return {"chat-recovered.png": (chat, 1_180, 1_060, False)}
        case "sla_missed":
            return {"mail-sla-missed.png": (mail, 760, 660, False)}
        case "sla_not_started":
            return {"mail-sla-not-started.png": (mail, 760, 640, False)}
        case "wave_recovered":
            return {"mail-digest-recovered.png": (mail, 760, 300, False)}
        case "wave_mixed":
            return {
                "mail-digest-mixed.png": (mail, 760, 390, False),
                "mail-digest-mixed-dark.png": (mail, 760, 390, True),
                "mail-digest-mixed-phone.png": (mail, 360, 520, False),
            }
        case "wave":
            return {"mail-digest.png": (mail, 760, 600, False), "chat-digest.png": (chat, 1_180, 910, False)}
        case _:
            return {}


def draw_pictures(folder: Path = PICTURES) -> list[Path]:
    """Draw them all; returns where they are."""
    made = []
    for name, message in messages().items():
        for file, (shown, width, height, dark) in _shown(name, message).items():
            draw(shown, folder / file, width, height, dark=dark)
            made.append(folder / file)
    return made


def draw(shown: str, path: Path, width: int, height: int, *, dark: bool = False) -> None:
    """A page as Chromium shows it. A window of its own cannot be as narrow as a phone, but a frame in it can."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("pictures need Chromium; install it, or leave out --pictures")
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "page.html").write_text(shown, encoding="utf-8")
        frame = f'<iframe src="page.html" style="border:0;width:{width}px;height:{height}px"></iframe>'
        scheme = '<meta name="color-scheme" content="light dark">'
        outer = f'<!doctype html>{scheme}<body style="margin:0">{frame}'
        (Path(folder) / "frame.html").write_text(outer, encoding="utf-8")
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", f"--screenshot={path}"]
        options += [f"--window-size={width},{height}", "--allow-file-access-from-files"]
        options += ["--blink-settings=preferredColorScheme=0"] if dark else []
        subprocess.run([chromium, *options, f"file://{folder}/frame.html"], capture_output=True, timeout=90, check=True)


def _text_page(text: str) -> str:
    return f'<pre style="font:13px/19px monospace;padding:24px;white-space:pre-wrap">{html.escape(text)}</pre>'


def chat_page(message: Message) -> str:
    """What six services get, side by side."""
    shown = {
        "Slack": _slack(json.loads(FORMATS["slack"](message))),
        "Microsoft Teams": _teams(json.loads(FORMATS["teams"](message))),
        "Discord": _discord(json.loads(FORMATS["discord"](message))),
        "Telegram": json.loads(FORMATS["telegram"](message))["text"].replace("\n", "<br>"),
        "Mattermost": _mattermost(json.loads(FORMATS["mattermost"](message))),
        "any other": f"<b>{html.escape(message.title)}</b><br>{html.escape(message.chat)}".replace("\n", "<br>"),
    }
    cards = "".join(f"<section><h2>{name}</h2><div>{body}</div></section>" for name, body in shown.items())
    style = """
      body { font: 13px/19px sans-serif; background: #eef0f3; margin: 12px; display: grid; gap: 12px;
        grid-template-columns: 1fr 1fr 1fr; align-items: start }
      section { background: #fff; border-radius: 6px; padding: 4px 14px 12px; min-width: 0 }
      h2 { font-size: 12px; color: #667; margin: 6px 0 }
      pre { background: #f4f5f7; padding: 6px 8px; white-space: pre-wrap; margin: 6px 0; font-size: 11px }
      div { overflow-wrap: anywhere } .bar { border-left: 4px solid; padding-left: 10px }
      .button { display: inline-block; border: 1px solid #bbc; border-radius: 4px; padding: 3px 9px }
      .button { margin: 6px 6px 0 0 }
      td { vertical-align: top; padding-right: 12px; overflow-wrap: normal }
    """
    return f"<!doctype html><style>{style}</style>{cards}"


def _slack(payload: dict[str, Any]) -> str:
    (attachment,) = payload["attachments"]
    body = "".join(_slack_block(block) for block in attachment["blocks"])
    return f'<b>{payload["text"]}</b><div class="bar" style="border-color:{attachment["color"]}">{body}</div>'


def _slack_block(block: dict[str, Any]) -> str:
    if block["type"] == "actions":
        return "".join(f'<span class="button">{html.escape(each["text"]["text"])}</span>' for each in block["elements"])
    parts = []
    for element in block["elements"]:
        runs = "".join(_run(run["text"], bold="style" in run) for run in element["elements"])
        parts.append(
            f"<pre>{runs}</pre>" if element["type"] == "rich_text_preformatted" else runs.replace("\n", "<br>")
        )
    return "".join(parts)


def _run(text: str, *, bold: bool) -> str:
    return f"<b>{html.escape(text)}</b>" if bold else html.escape(text)


def _teams(payload: dict[str, Any]) -> str:
    card = payload["attachments"][0]["content"]
    shades = {
        "attention": "#fdeceb",
        "good": "#e3f5ec",
        "warning": "#fdf1e3",
        "accent": "#e7effb",
        "emphasis": "#f4f5f7",
    }
    body = ""
    for element in card["body"]:
        items = element["items"] if element["type"] == "Container" else [element]
        lines = "".join(f"<div>{_teams_block(item)}</div>" for item in items)
        body += f'<div style="background:{shades.get(element.get("style", ""), "none")};padding:2px 6px">{lines}</div>'
    buttons = "".join(f'<span class="button">{html.escape(each["title"])}</span>' for each in card.get("actions", []))
    return body + buttons


def _teams_block(block: dict[str, Any]) -> str:
    runs = [_run(run["text"], bold=run.get("weight") == "Bolder") for run in block["inlines"]]
    mono = any(run.get("fontType") == "Monospace" for run in block["inlines"])
    return f'<span style="font:11px monospace">{"".join(runs)}</span>' if mono else "".join(runs)


def _discord(payload: dict[str, Any]) -> str:
    (embed,) = payload["embeds"]
    fields = "".join(
        f"<tr><td><b>{_plain(f['name'])}</b><td>{_plain(f['value'])}</tr>" for f in embed.get("fields", [])
    )
    body = f"<b>{_plain(embed['title'])}</b><br>{_markdown(embed['description'])}<table>{fields}</table>"
    return f'<div class="bar" style="border-color:#{embed["color"]:06x}">{body}</div>'


def _mattermost(payload: dict[str, Any]) -> str:
    (given,) = payload["attachments"]
    fields = "".join(
        f"<tr><td><b>{_plain(f['title'])}</b><td>{_plain(f['value'])}</tr>" for f in given.get("fields", [])
    )
    body = f"<b>{_plain(given['title'])}</b><br>{_markdown(given['text'])}<table>{fields}</table>"
    return f'<div class="bar" style="border-color:{given["color"]}">{body}</div>'


def _plain(text: str) -> str:
    return html.escape(re.sub(r"\\(.)", r"\1", text))


def _markdown(text: str) -> str:
    """Code blocks, links, bold and escapes: what our messages have of it."""
    shown = ""
    for position, part in enumerate(text.split("```")):
        shown += f"<pre>{html.escape(part.strip())}</pre>" if position % 2 else _formatted(part)
    return shown


def _formatted(text: str) -> str:
    marks = {"\x01": "<u>", "\x02": "</u> ", "\x03": "<b>", "\x04": "</b>", "\n": "<br>"}
    text = re.sub(r"\[([^\]]*)\]\(<([^>]*)>\)", "\x01\\1\x02", text.strip())
    shown = _plain(re.sub(r"(?<!\\)\*\*(.*?)(?<!\\)\*\*", "\x03\\1\x04", text))
    for mark, tag in marks.items():
        shown = shown.replace(mark, tag)
    return shown


def main() -> None:
    for stale in FOLDER.glob("*"):
        stale.unlink()
    for name, text in goldens().items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    if "--pictures" in sys.argv:
        draw_pictures()


if __name__ == "__main__":
    main()

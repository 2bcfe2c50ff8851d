"""Pushing the boards into a running Grafana, for those that do not provision it from files.

For each board: read what Grafana has, compare, and save only what differs. What is saved names the version that was
compared, so that a change which somebody saves in between is answered with 412 and not lost.
"""

from __future__ import annotations

import copy
import difflib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from dashboards.grafana import GrafanaError, TokenRefused, asking
from dashboards.provisioning import FOLDER, WEB_URL, board_files

if TYPE_CHECKING:
    from grafana_client.api import GrafanaApi

Board = dict[str, Any]

MESSAGE: Final = "windsock dashboards push"  # in the board's version history
_GRAFANAS_OWN: Final = ("id", "version", "iteration")  # set by Grafana on saving


class Action(StrEnum):
    """What became of a board; on a dry run, what would."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    FAILED = "failed"


@dataclass(frozen=True)
class Pushed:
    """One board's result. ``diff`` is from Grafana's board to ours, empty for a new one."""

    uid: str
    title: str
    action: Action
    reason: str = ""
    diff: str = ""


@dataclass(frozen=True)
class Options:
    """``overwrite`` saves over a version that somebody else made meanwhile; ``dry_run`` saves nothing at all.

    Without ``datasource``, a uid, the boards ask the Prometheus data source that Grafana has as its default.
    """

    url: str
    folder: str = FOLDER
    datasource: str | None = None
    overwrite: bool = False
    dry_run: bool = False


def load_boards(web_url: str = WEB_URL) -> list[Board]:
    """The generated boards, by name of their files, their links leading to these web pages."""
    found = [json.loads(text) for text in board_files(web_url).values()]
    if not found:
        raise GrafanaError("there are no boards here; write them: windsock generate")
    return found


def push(grafana: GrafanaApi, wanted: Sequence[Board], options: Options) -> Iterator[Pushed]:
    """Push each board into the folder, which is made when missing. A board that fails does not stop the others.

    Raises GrafanaError where none could succeed: the token, the folder, the data source.
    """
    if options.datasource is not None:
        _require_datasource(grafana, options.datasource, options)
    folder = _folder_uid(grafana, options)
    for board in wanted:
        ours = with_datasource(board, options.datasource)
        try:
            yield _push_one(grafana, ours, folder, options)
        except TokenRefused:
            raise
        except GrafanaError as error:
            yield Pushed(ours["uid"], ours["title"], Action.FAILED, str(error))


def with_datasource(board: Board, uid: str | None) -> Board:
    """The board whose variable of Prometheus data sources begins with `uid`, not with Grafana's default one."""
    ours = copy.deepcopy(board)
    if uid is not None:
        for variable in ours.get("templating", {}).get("list", []):
            if variable["type"] == "datasource" and variable["query"] == "prometheus":
                variable["current"] = {"selected": True, "text": uid, "value": uid}
    return ours


def normalised(board: Board) -> Board:
    """Without what Grafana itself adds."""
    return {key: value for key, value in board.items() if key not in _GRAFANAS_OWN}


def difference(theirs: Board, ours: Board) -> str:
    """A unified diff of both as JSON with sorted keys; empty where they are equal."""
    before, after = (
        json.dumps(normalised(board), indent=2, sort_keys=True, ensure_ascii=False).splitlines(keepends=True)
        for board in (theirs, ours)
    )
    name = ours["uid"]
    lines = difflib.unified_diff(before, after, f"{name} (in Grafana)", f"{name} (here)")
    return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)


def _require_datasource(grafana: GrafanaApi, uid: str, options: Options) -> None:
    """Grafana saves boards that ask a data source which is not there. Whoever may not look is not held up."""
    from grafana_client.client import GrafanaClientError

    with asking(options.url, "read data sources"):
        try:
            grafana.datasource.get_datasource_by_uid(uid)
        except GrafanaClientError as error:
            if error.status_code == 404:
                raise GrafanaError(
                    f"{options.url} has no data source with the uid {uid!r}; name the uid of yours with --datasource "
                    "(Connections, Data sources: it is the last part of its page's address)"
                ) from error
            if error.status_code != 403:
                raise


def _folder_uid(grafana: GrafanaApi, options: Options) -> str | None:
    """The folder of that title; None where it is missing and must not be made."""
    with asking(options.url, "read folders"):
        folders = grafana.folder.get_all_folders()
    for folder in folders:
        if folder["title"] == options.folder:
            return str(folder["uid"])
    if options.dry_run:
        return None
    with asking(options.url, f"make the folder {options.folder}"):
        return str(grafana.folder.create_folder(options.folder)["uid"])


def _push_one(grafana: GrafanaApi, ours: Board, folder: str | None, options: Options) -> Pushed:
    uid, title = ours["uid"], ours["title"]
    found = _find(grafana, uid, options)
    if found is None:
        if not options.dry_run:
            _save(grafana, ours, folder, 0, options)
        return Pushed(uid, title, Action.CREATED)
    theirs, where = found["dashboard"], found["meta"].get("folderUid", "")
    diff = difference(theirs, ours)
    if not diff and where == folder:
        return Pushed(uid, title, Action.UNCHANGED)
    if not options.dry_run:
        _save(grafana, ours, folder, int(theirs.get("version", 0)), options)
    moved = f"moved to the folder {options.folder}" if where != folder else ""
    return Pushed(uid, title, Action.UPDATED, moved, diff)


def _find(grafana: GrafanaApi, uid: str, options: Options) -> Any:
    from grafana_client.client import GrafanaClientError

    with asking(options.url, f"read the board {uid}"):
        try:
            return grafana.dashboard.get_dashboard(uid)
        except GrafanaClientError as error:
            if error.status_code == 404:
                return None
            raise


def _save(grafana: GrafanaApi, ours: Board, folder: str | None, version: int, options: Options) -> None:
    from grafana_client.client import GrafanaClientError

    request = {
        "dashboard": {**ours, "id": None, "version": version},
        "folderUid": folder,
        "message": MESSAGE,
        "overwrite": options.overwrite,
    }
    with asking(options.url, f"save boards in the folder {options.folder}"):
        try:
            grafana.dashboard.update_dashboard(request)
        except GrafanaClientError as error:
            if words := _why_not_saved(error):
                raise GrafanaError(words) from error
            raise


def _why_not_saved(error: Any) -> str:
    """Words for refusals that only saving knows."""
    response = error.response if isinstance(error.response, dict) else {}
    match error.status_code, response.get("status"):
        case 412, "version-mismatch":
            return "somebody else saved it meanwhile; look at their change in Grafana, or replace it with --overwrite"
        case 412, "name-exists":
            return (
                "the folder has another board of this name; rename or remove that one, or replace it with --overwrite"
            )
        case 412, "plugin-dashboard":
            return "it belongs to a plugin there; replace it with --overwrite"
        case 409 | 412, _:  # newer Grafanas answer some conflicts with 409
            told = response.get("message", "no reason given")
            return f"Grafana has another version of it ({told}); replace it with --overwrite"
        case 400, _ if "provisioned" in str(response.get("message", "")):
            return "this Grafana takes it from provisioning files, where it must be changed; it needs no push"
        case _:
            return ""

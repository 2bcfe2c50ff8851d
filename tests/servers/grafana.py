"""A stand-in for Grafana, for machines where none is installed: the part of its HTTP API that pushing needs.

It follows Grafana's HTTP API reference (Dashboard, Folder, Annotations, Data source and Other API, version 11):

* every path but ``/api/health`` wants ``Authorization: Bearer <token>``, else 401; what the token's role may not, 403;
* ``POST /api/dashboards/db`` saves when ``version`` is the stored one or ``overwrite`` is set, and answers 412 with
  ``status`` ``version-mismatch`` otherwise; a board from provisioning files is refused with 400;
* saving sets ``id`` and counts ``version`` up; without ``folderUid`` a board lands in the root;
* a second folder of one title is refused with 409;
* annotations are found by tags (all of them) and by a span of milliseconds.

Not imitated: permissions of single folders, history, paging, search, and the conversions that Grafana 12 and later
make on reading. ``FakeGrafana.before_saving`` stands for somebody who is quicker.
"""

from __future__ import annotations

import json
import ssl
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

Answer = tuple[int, Any]
EDITOR, VIEWER = "Editor", "Viewer"
TOKEN = "glsa_of-an-editor"


@dataclass
class Stored:
    """A board as Grafana keeps it."""

    board: dict[str, Any]
    folder: str = ""
    message: str = ""
    provisioned: bool = False


@dataclass
class FakeGrafana:
    """Listens on 127.0.0.1 below `prefix` from start() to stop()."""

    prefix: str = ""
    tls: ssl.SSLContext | None = None
    tokens: dict[str, str] = field(default_factory=lambda: {TOKEN: EDITOR})
    folders: dict[str, str] = field(default_factory=dict)  # uid → title
    boards: dict[str, Stored] = field(default_factory=dict)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    datasources: set[str] = field(default_factory=lambda: {"prometheus"})
    before_saving: Callable[[], None] = lambda: None
    requests: list[tuple[str, str]] = field(default_factory=list)
    answers: dict[str, Answer] = field(default_factory=dict)  # path → what to answer instead
    _server: ThreadingHTTPServer | None = None

    def start(self) -> FakeGrafana:
        self._server = _Server(self)
        threading.Thread(target=self._server.serve_forever, args=(0.01,), name="grafana").start()
        return self

    def stop(self) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http{'s' if self.tls else ''}://127.0.0.1:{self._server.server_port}{self.prefix}"

    @property
    def written(self) -> list[str]:
        """The paths of all requests that change something."""
        return [path for method, path in self.requests if method != "GET"]

    def answer(self, method: str, target: str, token: str, body: Any) -> Answer:
        parts = urlsplit(target)
        self.requests.append((method, parts.path))
        if not parts.path.startswith(f"{self.prefix}/api/"):
            return 404, "<html>404 page not found</html>"
        path = parts.path.removeprefix(self.prefix).removeprefix("/api")
        if path in self.answers:
            return self.answers[path]
        if path == "/health":
            return 200, {"commit": "0", "database": "ok", "version": "11.6.0"}
        role = self.tokens.get(token)
        if role is None:
            return 401, {"message": "Invalid API key", "messageId": "api-key.invalid", "statusCode": 401}
        if method == "POST" and role == VIEWER:
            return 403, {
                "message": "You'll need additional permissions to perform this action",
                "title": "Access denied",
            }
        return self._authorised(method, path, parse_qs(parts.query), body)

    def _authorised(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Answer:
        match method, path.strip("/").split("/"):
            case "GET", ["datasources", "uid", uid]:
                return (
                    (200, {"uid": uid}) if unquote(uid) in self.datasources else (404, _said("Data source not found"))
                )
            case "GET", ["folders"]:
                return 200, [{"id": 1, "uid": uid, "title": title} for uid, title in self.folders.items()]
            case "POST", ["folders"]:
                return self._make_folder(body)
            case "GET", ["dashboards", "uid", uid]:
                return self._read(uid)
            case "POST", ["dashboards", "db"]:
                self.before_saving()
                return self._save(body)
            case "POST", ["annotations"]:
                return self._annotate(body)
            case "GET", ["annotations"]:
                return 200, [each for each in self.annotations if _is_wanted(each, query)]
            case _:
                return 404, _said("Not found")

    def _make_folder(self, body: Any) -> Answer:
        if body["title"] in self.folders.values():
            return 409, _said("a folder with the same name already exists in the current location")
        uid = body.get("uid") or f"folder{len(self.folders) + 1}"
        self.folders[uid] = body["title"]
        return 200, {"id": len(self.folders), "uid": uid, "title": body["title"], "version": 1}

    def _read(self, uid: str) -> Answer:
        stored = self.boards.get(uid)
        if stored is None:
            return 404, _said("Dashboard not found")
        meta = {
            "folderUid": stored.folder,
            "folderTitle": self.folders.get(stored.folder, "General"),
            "provisioned": stored.provisioned,
            "version": stored.board["version"],
        }
        return 200, {"meta": meta, "dashboard": stored.board}

    def _save(self, body: Any) -> Answer:
        board, folder = body["dashboard"], body.get("folderUid") or ""
        if folder and folder not in self.folders:
            return 400, _said("folder not found")
        stored = self.boards.get(board["uid"])
        if stored is None:
            self.boards[board["uid"]] = stored = Stored({"id": len(self.boards) + 1, "version": 0})
        elif stored.provisioned:
            return 400, _said("Cannot save provisioned dashboard")
        elif board.get("version") != stored.board["version"] and not body.get("overwrite"):
            message = "The dashboard has been changed by someone else"
            return 412, {"message": message, "status": "version-mismatch"}
        kept = {"id": stored.board["id"], "version": stored.board["version"] + 1}
        stored.board, stored.folder, stored.message = {**board, **kept}, folder, body.get("message", "")
        return 200, {"status": "success", "uid": board["uid"], **kept}

    def _annotate(self, body: Any) -> Answer:
        if not body.get("text"):
            return 400, {"message": "Failed to save annotation", "error": "text field should not be empty"}
        saved = {**body, "id": len(self.annotations) + 1, "timeEnd": body.get("timeEnd") or body["time"]}
        self.annotations.append(saved)
        return 200, {"message": "Annotation added", "id": saved["id"]}


def _is_wanted(annotation: dict[str, Any], query: dict[str, list[str]]) -> bool:
    begin, end = int(query.get("from", ["0"])[0]), int(query.get("to", [str(2**62)])[0])
    in_span = annotation["time"] <= end and annotation["timeEnd"] >= begin
    return in_span and set(query.get("tags", [])) <= set(annotation["tags"])


def _said(message: str) -> dict[str, str]:
    return {"message": message}


class _Server(ThreadingHTTPServer):
    daemon_threads = False
    block_on_close = True

    def __init__(self, grafana: FakeGrafana) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.grafana = grafana
        if grafana.tls:
            self.socket = grafana.tls.wrap_socket(self.socket, server_side=True)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that does not trust our certificate hangs up; that is what its test wants."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    timeout = 5

    def _take(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        status, answer = self.server.grafana.answer(self.command, self.path, token, json.loads(body or b"null"))
        is_page = isinstance(answer, str)
        payload = answer.encode() if is_page else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "text/html; charset=UTF-8" if is_page else "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)

    do_GET = do_POST = _take  # noqa: N815 - the names that the base class calls

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
        """Say nothing."""

"""A server with the part of wandb's protocol that copying and verifying runs needs; it stores what it receives."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = {"id": "e", "name": "me"}


class Server(ThreadingHTTPServer):
    """The server, to be used as a context manager.

    runs: {id: {"history": rows, "config", "tags", "groupName", ...}}. mute: if set, a stream of rows is never answered.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.runs: dict[str, dict] = {}
        self.mute = threading.Event()
        self.closing = threading.Event()

    def __enter__(self) -> Server:
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_) -> None:
        self.closing.set()
        self.shutdown()
        self.server_close()

    def handle_error(self, *_) -> None:
        """Ignore errors: a client that is killed in the middle of a request is part of the test."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reply(self, operation: str, variables: dict) -> dict:
        """The data of the answer to a GraphQL operation with these variables."""
        viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return {
            "UpsertBucket": self._upsert,
            "RunResumeStatus": self._resume,
            "CreateRunFiles": self._files,
            "Runs": self._list,
            "GetDefaultEntity": lambda variables: {"viewer": {"id": "v", "entity": "me"}},
            "Viewer": lambda variables: {"viewer": viewer},
        }.get(operation, lambda variables: {})(variables)

    def _upsert(self, variables: dict) -> dict:
        fields = ("config", "groupName", "jobType", "tags", "displayName", "summaryMetrics")
        run = self.runs.setdefault(variables["name"], {"history": []})
        run |= {key: variables[key] for key in fields if variables.get(key) is not None}
        project = {"id": "p", "name": "sobench", "entity": ENTITY}
        return {
            "upsertBucket": {
                "inserted": True,
                "bucket": {
                    "id": variables["name"],
                    "name": variables["name"],
                    "displayName": "",
                    "sweepName": None,
                    "historyLineCount": len(run["history"]),
                    "project": project,
                },
            }
        }

    def _resume(self, variables: dict) -> dict:
        if variables["name"] not in self.runs:
            return {"model": None}
        run = self.runs[variables["name"]]
        bucket = {
            "id": variables["name"],
            "name": variables["name"],
            "displayName": "",
            "summaryMetrics": run.get("summaryMetrics", "{}"),
            "logLineCount": 0,
            "eventsLineCount": 0,
            "eventsTail": "[]",
            "historyLineCount": len(run["history"]),
            "historyTail": json.dumps([json.dumps(row) for row in run["history"][-1:]]),
            "config": run["config"],
            "tags": run.get("tags", []),
            "wandbConfig": '{"t": 1}',
        }
        return {"model": {"id": "p", "name": "sobench", "entity": ENTITY, "bucket": bucket}}

    def _files(self, variables: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in variables["files"]]
        return {"createRunFiles": {"runID": variables["run"], "uploadHeaders": [], "files": files}}

    def _list(self, variables: dict) -> dict:
        if not self.runs:
            return {"project": None}
        edges = [
            {
                "cursor": name,
                "node": {
                    "id": name,
                    "name": name,
                    "displayName": "",
                    "config": run["config"],
                    "historyLineCount": len(run["history"]),
                    "state": "finished" if run.get("complete") else "running",
                    "summaryMetrics": "{}",
                    "systemMetrics": "{}",
                },
            }
            for name, run in self.runs.items()
        ]
        page = {"edges": edges, "pageInfo": {"endCursor": None, "hasNextPage": False}}
        return {"project": {"runCount": len(edges), "runs": page}}

    def stream(self, name: str, body: dict) -> None:
        """Store rows of a run from an offset on, and whether the run is complete."""
        history = self.runs[name]["history"]
        if sent := body.get("files", {}).get("wandb-history.jsonl"):
            history[sent["offset"] :] = map(json.loads, sent["content"])
        self.runs[name]["complete"] = body.get("complete", False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_PUT(self) -> None:
        self._read()
        self._answer({})

    def do_POST(self) -> None:
        request = json.loads(self._read() or b"{}")
        if self.path == "/graphql":
            operation = request.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", request["query"])[1]
            return self._answer({"data": self.server.reply(operation, request.get("variables", {}))})
        if self.server.mute.is_set():
            self.server.closing.wait()
            return None
        self.server.stream(self.path.split("/")[4], request)
        return self._answer({"exitcode": None, "limits": {}})

    def _read(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def _answer(self, body: dict) -> None:
        data = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

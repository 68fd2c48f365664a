"""A server that speaks wandb's protocol as far as mirroring and verifying runs need it, and keeps what it was sent."""

from __future__ import annotations

import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

ENTITY = {"id": "e", "name": "me"}


class Server(ThreadingHTTPServer):
    """A context. runs: {id: {"history": rows, "config", "tags", "groupName", ...}}; mute: a stream of rows is never answered."""

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
        """A client that was killed in the middle of a request is part of the test."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def reply(self, operation: str, said: dict) -> dict:
        """The data of an answer to a GraphQL operation."""
        viewer = {"id": "v", "entity": "me", "username": "me", "flags": "{}", "teams": {"edges": []}}
        return {
            "UpsertBucket": self._upsert,
            "RunResumeStatus": self._resume,
            "CreateRunFiles": self._files,
            "Runs": self._list,
            "GetDefaultEntity": lambda said: {"viewer": {"id": "v", "entity": "me"}},
            "Viewer": lambda said: {"viewer": viewer},
        }.get(operation, lambda said: {})(said)

    def _upsert(self, said: dict) -> dict:
        kept = ("config", "groupName", "jobType", "tags", "displayName", "summaryMetrics")
        run = self.runs.setdefault(said["name"], {"history": []})
        run |= {key: said[key] for key in kept if said.get(key) is not None}
        project = {"id": "p", "name": "sobench", "entity": ENTITY}
        return {
            "upsertBucket": {
                "inserted": True,
                "bucket": {
                    "id": said["name"],
                    "name": said["name"],
                    "displayName": "",
                    "sweepName": None,
                    "historyLineCount": len(run["history"]),
                    "project": project,
                },
            }
        }

    def _resume(self, said: dict) -> dict:
        if said["name"] not in self.runs:
            return {"model": None}
        run = self.runs[said["name"]]
        bucket = {
            "id": said["name"],
            "name": said["name"],
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

    def _files(self, said: dict) -> dict:
        files = [{"name": name, "uploadUrl": f"{self.url}/{name}"} for name in said["files"]]
        return {"createRunFiles": {"runID": said["run"], "uploadHeaders": [], "files": files}}

    def _list(self, said: dict) -> dict:
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

    def stream(self, name: str, said: dict) -> None:
        """Rows of a run, from an offset on; and its end."""
        history = self.runs[name]["history"]
        if sent := said.get("files", {}).get("wandb-history.jsonl"):
            history[sent["offset"] :] = map(json.loads, sent["content"])
        self.runs[name]["complete"] = said.get("complete", False)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_) -> None:
        pass

    def do_PUT(self) -> None:
        self._read()
        self._answer({})

    def do_POST(self) -> None:
        said = json.loads(self._read() or b"{}")
        if self.path == "/graphql":
            operation = said.get("operationName") or re.search(r"(?:query|mutation)\s+(\w+)", said["query"])[1]
            return self._answer({"data": self.server.reply(operation, said.get("variables", {}))})
        if self.server.mute.is_set():
            self.server.closing.wait()
            return None
        self.server.stream(self.path.split("/")[4], said)
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

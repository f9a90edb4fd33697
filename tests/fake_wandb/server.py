"""A stand-in for the W&B backend, for tests on 127.0.0.1 only.

It speaks as much of the GraphQL, file stream and upload protocols as the real SDK needs to track runs, log, use and
link artifacts, move aliases and download. Nothing of it was compared with W&B's own servers.

    python -m tests.fake_wandb.server --data DIR --port-file DIR/port

Control, without a key: ``GET /__fake/state``, ``GET /__fake/log``, ``POST /__fake/faults``.
"""

import argparse
import base64
import gzip
import hashlib
import json
import re
import socket
import struct
import threading
import time
import traceback
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from graphql import parse

from tests.fake_wandb.executor import UNKNOWN, execute
from tests.fake_wandb.queries import Mutation, Query
from tests.fake_wandb.store import ORG_ENTITY, GQLError, Store, now

KEY = "f" * 40
ADMIN_KEY = "a" * 40
FAULTS: list[dict] = []  # {"match": regex on "METHOD /path opName", "action": ..., "times": n}
LOG: list[str] = []


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    s: Store

    def log_message(self, *_):
        pass

    def reply(self, code, body=b"", ctype="application/json", headers=()):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.send_response(code)
        self.send_header("Content-Type", ctype)
        self.send_header("Content-Length", str(len(body)))
        for k, v in headers:
            self.send_header(k, v)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def body(self):
        if "chunked" in self.headers.get("Transfer-Encoding", ""):
            data = b""
            while n := int(self.rfile.readline().split(b";")[0], 16):
                data += self.rfile.read(n)
                self.rfile.readline()
            self.rfile.readline()
        else:
            data = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        return gzip.decompress(data) if self.headers.get("Content-Encoding") == "gzip" else data

    def user(self):
        scheme, _, cred = self.headers.get("Authorization", "").partition(" ")
        key = base64.b64decode(cred).decode().partition(":")[2] if scheme == "Basic" else cred
        return {KEY: "user", ADMIN_KEY: "admin"}.get(key)

    def handle_one(self):
        path, data = urllib.parse.unquote(urllib.parse.urlsplit(self.path).path), self.body()
        asked = json.loads(data) if path == "/graphql" else {}
        operation = (re.search(r"(?:query|mutation)\s+(\w+)", asked.get("query", "")) or [None, ""])[1]
        label = f"{self.command} {path} {operation}".strip()
        LOG.append(label)
        if path.startswith("/__fake/"):
            self.control(path, data)
            return
        fault, _, argument = self.fault(label).partition(":")
        if fault == "status":
            self.reply(int(argument), {"errors": [{"message": f"injected {argument}"}]})
            return
        if fault == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.close_connection = True
            self.connection.close()
            return
        if fault == "hang":
            time.sleep(float(argument))
        self.route(path, data, asked, operation, fault)

    def fault(self, label):
        for fault in FAULTS:
            if fault["times"] > 0 and re.search(fault["match"], label):
                fault["times"] -= 1
                return fault["action"]
        return ""

    def route(self, path, data, asked, operation, fault):
        if path.startswith("/storage/"):
            self.storage(path.removeprefix("/storage/"), data, fault)
        elif path in ("/", "/healthz"):
            self.reply(200, {"fake": "wandb"})
        elif not (who := self.user()):
            error = {
                "message": "user is not logged in",
                "path": [operation],
                "extensions": {"code": "PERMISSION_ERROR"},
            }
            self.reply(401, {"errors": [error], "data": None})
        elif path == "/graphql":
            with self.s.lock:
                self.graphql(asked, operation, admin=who == "admin")
        elif found := re.fullmatch(r"/artifacts(?:V2)?/.*/([0-9a-f]{32})(?:/[^/]*)?", path):  # an expired signed URL
            self.storage(f"content/{found[1]}", data, fault)
        elif found := re.fullmatch(r"/files/([^/]+)/([^/]+)/([^/]+)/file_stream", path):
            with self.s.lock:
                self.file_stream("/".join(found.groups()), json.loads(data))
        else:
            self.reply(404, {"error": f"no route {path}"})

    def graphql(self, asked, operation, admin):
        document = parse(asked["query"])
        changes = any(getattr(d, "operation", None) and d.operation.value == "mutation" for d in document.definitions)
        before = json.dumps(self.s.d) if changes else None
        try:
            answer = execute(document, asked.get("variables"), (Mutation if changes else Query)(self.s, admin=admin))
        except Exception as error:  # noqa: BLE001 - 400 for a gap of the stand-in: the SDK retries 5xx for minutes
            if changes:
                self.s.d = json.loads(before)  # a failed mutation changes nothing
            ours = isinstance(error, GQLError)
            if not ours:
                traceback.print_exc()
            message = str(error) if ours else f"fake_wandb: {error!r} in {operation}"
            self.reply(
                error.status if ours else 400, {"errors": [{"message": message, "path": [operation]}], "data": None}
            )
            return
        if changes:
            self.s.save()
        self.reply(200, {"data": answer})

    def file_stream(self, key, d):
        r = self.s.d["runs"].get(key)
        if r is None:
            self.reply(404, {"error": "run not found"})
            return
        for name, chunk in (d.get("files") or {}).items():
            lines = r["streams"].setdefault(name, [])
            lines[chunk["offset"] : chunk["offset"] + len(chunk["content"])] = chunk["content"]
            if name == "wandb-summary.json" and chunk["content"]:
                r["summaryMetrics"] = chunk["content"][-1]
        r["heartbeatAt"] = now()
        if d.get("complete"):
            r["state"], r["exitcode"] = ("finished" if not d.get("exitcode") else "failed"), d.get("exitcode")
        self.s.save()
        self.reply(200, {"limits": {}})

    def storage(self, key, data, fault):
        """Object store behind 'presigned' URLs: no credentials. PUT verifies Content-MD5 like S3/GCS do."""
        p = self.s.blob(key)
        if self.command == "PUT":
            md5 = base64.b64encode(hashlib.md5(data).digest()).decode()
            if self.headers.get("Content-MD5", md5) != md5:
                self.reply(400, b"BadDigest", "text/plain")
                return
            p.parent.mkdir(parents=True, exist_ok=True)
            tmp = p.with_name(p.name + f".{threading.get_ident()}.tmp")
            tmp.write_bytes(data)
            tmp.replace(p)
            self.reply(200, b"", headers=[("ETag", f'"{hashlib.md5(data).hexdigest()}"')])
        elif p.is_file():
            self.send_blob(p.read_bytes(), fault)
        else:
            self.reply(404, b"NoSuchKey", "text/plain")

    def send_blob(self, blob, fault):
        if fault == "truncate":
            blob = blob[: len(blob) // 2]  # short file, consistent length
        if fault == "corrupt":
            blob = bytes([blob[0] ^ 0xFF]) + blob[1:]  # same size, wrong content
        if fault == "cut":  # connection dies half way
            self.send_response(200)
            self.send_header("Content-Length", str(len(blob)))
            self.end_headers()
            self.wfile.write(blob[: len(blob) // 2])
            self.wfile.flush()
            self.close_connection = True
            return
        if m := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            a, b = int(m[1]), min(int(m[2] or len(blob) - 1), len(blob) - 1)
            self.reply(
                206, blob[a : b + 1], "application/octet-stream", [("Content-Range", f"bytes {a}-{b}/{len(blob)}")]
            )
        else:
            self.reply(200, blob, "application/octet-stream")

    def control(self, path, data):
        if path == "/__fake/state":
            self.reply(200, {**self.s.d, "unknown_fields": UNKNOWN})
        elif path == "/__fake/log":
            self.reply(200, list(LOG))
        elif path == "/__fake/faults":
            FAULTS[:] = [{"times": 1, **fault} for fault in json.loads(data)]
            self.reply(200, {"ok": True})
        else:
            self.reply(404, {"error": f"no route {path}"})

    do_GET = do_POST = do_PUT = do_HEAD = lambda self: self.handle_one()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, required=True)
    arguments = parser.parse_args()
    server = ThreadingHTTPServer(("127.0.0.1", arguments.port), Handler)
    server.daemon_threads = True
    Handler.s = store = Store(arguments.data)
    store.base = f"http://127.0.0.1:{server.server_address[1]}"
    for registry in ("model", "dataset"):
        store.project(ORG_ENTITY, f"wandb-registry-{registry}", create=True)
    store.save()
    staging = arguments.port_file.with_suffix(".new")
    staging.write_text(str(server.server_address[1]))
    staging.replace(arguments.port_file)
    server.serve_forever()


if __name__ == "__main__":
    main()

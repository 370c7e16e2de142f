"""A company's own web server before the engine: a page for browsers, the stream with a token added."""

from __future__ import annotations

import http.client
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

PAGE: Final = b"""<!doctype html><title>events</title><script>
const stream = new EventSource("/stream?after=0");
stream.onmessage = message =>
    fetch("/seen", {method: "POST", body: message.lastEventId, keepalive: true});
</script>"""


class Front:
    """Use as a context manager. `seen` are the ids that the browser had, `openings` its streams."""

    def __init__(self) -> None:
        front = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_: object) -> None:
                pass

            def do_GET(self) -> None:
                if self.path.startswith("/stream"):
                    front.pass_on(self)
                    return
                self.send_response(200)
                self.send_header("Content-Type", "text/html")
                self.send_header("Content-Length", str(len(PAGE)))
                self.end_headers()
                self.wfile.write(PAGE)

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                with front._writing:
                    front._came.append(json.loads(text))
                self.send_response(204)
                self.end_headers()

        self.openings = 0
        self._engine = (0, "")
        self._came: list[int] = []
        self._writing = threading.Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/"

    @property
    def seen(self) -> list[int]:
        """In rising order, repeats and all: posts of a page may overtake one another."""
        with self._writing:
            return sorted(self._came)

    def turn_to(self, port: int, token: str) -> None:
        """From now on the stream is that of another life of the engine."""
        self._engine = (port, token)

    def pass_on(self, asked: BaseHTTPRequestHandler) -> None:
        """Passes the stream on; closes without an answer where there is none, as browsers need it."""
        port, token = self._engine
        headers = {"Authorization": f"Bearer {token}"}
        if "Last-Event-ID" in asked.headers:
            headers["Last-Event-ID"] = asked.headers["Last-Event-ID"]
        query = asked.path.partition("?")[2]
        asked.close_connection = True
        try:
            engine = http.client.HTTPConnection("127.0.0.1", port)
            engine.request("GET", f"/events/stream?{query}", headers=headers)
            answer = engine.getresponse()
            if answer.status != 200:
                return
            self.openings += 1
            asked.send_response(200)
            asked.send_header("Content-Type", answer.headers["Content-Type"])
            asked.end_headers()
            while piece := answer.read1():
                asked.wfile.write(piece)
        except (OSError, http.client.HTTPException):
            return

    def __enter__(self) -> Front:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

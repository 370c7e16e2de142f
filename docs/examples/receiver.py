"""A receiver of webhooks: verifies, stores, answers, and ignores older events.

    pip install standardwebhooks
    WEBHOOK_SECRET=whsec_... python receiver.py 8099 inbox.db

It prints one line per accepted event. A kill at any moment is safe: acknowledged events are stored,
others are sent again. During a rotation of the secret give both, separated by a comma.
"""

from __future__ import annotations

import json
import os
import sqlite3
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

from standardwebhooks import Webhook, WebhookVerificationError

TABLES = """
CREATE TABLE IF NOT EXISTS inbox (event TEXT PRIMARY KEY, body TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS resources (
    id TEXT PRIMARY KEY, sequence INTEGER NOT NULL, data TEXT NOT NULL)"""


class Inbox:
    """Received events, and each resource by its newest event."""

    def __init__(self, path: str) -> None:
        self._database = sqlite3.connect(path)
        self._database.executescript(TABLES)

    def take(self, event: dict[str, Any]) -> str:
        """Notes an event, and what it shows if it is newer than what is known. Twice is once."""
        resource, sequence = event["resource"]["id"], event["sequence"]
        with self._database:  # one transaction: all of it, or it is sent again
            known = self._database.execute(
                "INSERT OR IGNORE INTO inbox VALUES (?, ?)", (event["id"], json.dumps(event))
            )
            if known.rowcount == 0:
                return "again"
            newer = self._database.execute(
                "INSERT INTO resources VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE"
                " SET sequence = ?2, data = ?3 WHERE sequence < ?2",
                (resource, sequence, json.dumps(event["data"])),
            )
        return "taken" if newer.rowcount else "late"


class Handler(BaseHTTPRequestHandler):
    """Answers within the 15 seconds that there are; anything but 2xx is sent again."""

    inbox: Inbox
    secrets: list[str]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if not any(self._fits(secret, body) for secret in self.secrets):
            self._answer(401)
            return
        event = json.loads(body)  # only now: before, it may be anybody's
        if event["name"] != "webhook.test":
            done = self.inbox.take(event)
            print(done, event["resource"]["id"], event["sequence"], event["name"], flush=True)
        self._answer(204)

    def _fits(self, secret: str, body: bytes) -> bool:
        headers = {name.lower(): value for name, value in self.headers.items()}
        try:
            Webhook(secret).verify(body, headers)  # the bytes as they came; not older than 5 minutes
        except WebhookVerificationError:
            return False
        return True

    def _answer(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Logs nothing: a request may contain confidential data."""


def main() -> None:
    port, path = sys.argv[1:]
    Handler.inbox, Handler.secrets = Inbox(path), os.environ["WEBHOOK_SECRET"].split(",")
    HTTPServer(("127.0.0.1", int(port)), Handler).serve_forever()


if __name__ == "__main__":
    main()

"""Outlets for seals, out of the engine's reach: a directory, or an HTTP receiver.

    /mnt/worm/seals        each seal in its own file, written atomically; `latest` is the newest
    https://host/seals     PUT https://host/seals/1042, the checkpoint as text; 2xx means stored

Both accept the same seal again. A directory is read back: a seal beyond the journal's head, or a
different one of the same size, reveals damage that a database cannot hide.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import secrets
import ssl
import urllib.error
import urllib.request
from pathlib import Path
from typing import Final

from engine.kernel.errors import BadSettings, JournalDamaged, Unavailable
from engine.kernel.files import regular
from engine.kernel.limits import PUBLISH_S, SEAL_BYTES_MAX
from engine.proof.checkpoint import BadNote, read_note
from engine.proof.sealing import Outlet
from engine.proof.seals import Seal

LATEST: Final = "latest"
_DIGITS: Final = 18
"""Sorts names by size; more than any journal's length."""


def open_outlet(where: str, origin: str) -> Outlet:
    """The outlet of a validated setting."""
    return Receiver(where) if where.startswith("http") else Directory(Path(where), origin)


class Directory:
    """A directory that must exist: an unmounted one must not be written."""

    def __init__(self, path: Path, origin: str) -> None:
        self._path = path
        self._origin = origin

    def put(self, seal: Seal) -> None:
        """Writes the seal's own file, unless it exists, and then `latest`."""
        try:
            latest = self.last()
            if latest is not None and latest.size > seal.size:
                raise JournalDamaged(
                    f"{self._path} has a seal of {latest.size} facts, and the newest here is of"
                    f" {seal.size}: the journal, or its seals, were cut off",
                    position=seal.size + 1,
                )
            path = self._path / f"{seal.size:0{_DIGITS}}"
            if not path.exists():
                self._write(path, seal.note)
            elif self._read(path).root != seal.root:
                raise JournalDamaged(f"{path} is another seal of the same size")
            self._write(self._path / LATEST, seal.note)
        except OSError as error:
            raise self._away(error) from None

    def last(self) -> Seal | None:
        """The seal in `latest`."""
        try:
            if not self._path.is_dir():
                raise Unavailable(f"{self._path} is no directory")
            return self._read(self._path / LATEST)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise self._away(error) from None

    def set_back(self, size: int) -> int:
        """Renames seals of more than `size` facts to `.lost`; how many.

        For facts whose loss an operator accepted. Raises Unavailable if files cannot be moved.
        """
        try:
            found = sorted(path for path in self._path.iterdir() if path.name.isdecimal())
            beyond = [path for path in found if int(path.name) > size]
            for path in beyond:
                path.rename(path.with_name(f"{path.name}.{secrets.token_hex(6)}.lost"))
            if beyond:
                left = [path for path in found if path not in beyond]
                latest = self._path / LATEST
                if left:
                    self._write(latest, self._read(left[-1]).note)
                else:
                    latest.unlink(missing_ok=True)
            return len(beyond)
        except OSError as error:
            raise self._away(error) from None

    def _read(self, path: Path) -> Seal:
        with regular(path) as file:
            text = file.read(SEAL_BYTES_MAX + 1).decode(errors="replace")
        try:
            checkpoint, _ = read_note(text)
        except BadNote as error:
            raise BadSettings(f"{path} is no seal: {error}") from None
        if checkpoint.origin != self._origin:
            raise BadSettings(f"{path} is of another journal: {checkpoint.origin}")
        return Seal(checkpoint.size, checkpoint.root, text, 0)

    def _write(self, path: Path, text: str) -> None:
        draft = path.with_name(f".{path.name}.{secrets.token_hex(6)}")
        try:
            with draft.open("x", encoding="utf-8") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(path)
        finally:
            with contextlib.suppress(OSError):
                draft.unlink()
        directory = os.open(self._path, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _away(self, error: OSError) -> Unavailable:
        return Unavailable(f"{self._path} cannot be written: {error.strerror}")


class Receiver:
    """An HTTP receiver. Its URL may be a secret, and is never logged.

    Redirects are not followed, and the environment's proxies are ignored.
    """

    def __init__(self, url: str) -> None:
        self._url = url.rstrip("/")
        tls = urllib.request.HTTPSHandler(context=ssl.create_default_context())
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), tls, _NoRedirects)

    def put(self, seal: Seal) -> None:
        """Sends the seal. Raises Unavailable unless the answer is 2xx."""
        request = urllib.request.Request(  # noqa: S310  the settings allow https, and http on loopback
            f"{self._url}/{seal.size}",
            data=seal.note.encode(),
            method="PUT",
            headers={"Content-Type": "text/plain; charset=utf-8", "User-Agent": "order-engine"},
        )
        try:
            with self._opener.open(request, timeout=PUBLISH_S) as answer:
                status = answer.status
        except urllib.error.HTTPError as error:
            error.close()
            raise Unavailable(f"the receiver of seals answered {error.code}") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Unavailable(f"the receiver of seals: {type(reason).__name__}") from None
        if not 200 <= status < 300:
            raise Unavailable(f"the receiver of seals answered {status}")

    def last(self) -> Seal | None:
        """Always None: comparing seals is the receiver's task."""
        return None


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """None: the redirect itself is the answer, an error."""

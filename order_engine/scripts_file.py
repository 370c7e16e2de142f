"""A file of scripts: the bodies of `POST /sandbox/scripts`, one or an array of them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from api.http import fields
from api.http.kinds import Rows
from api.http.wire import read_body
from engine.commands.scripts import NewScript
from engine.domain import script
from engine.kernel.errors import BadSettings, Refused
from engine.kernel.files import read_regular
from engine.kernel.ids import IdSource
from engine.kernel.limits import SCRIPT_FILE_BYTES_MAX, SCRIPTS_OPEN_MAX
from engine.transfer.csv_import import BadFile, LineFault

_TABLE: Final = Rows(fields.SCRIPT, SCRIPTS_OPEN_MAX)
_TOKEN: Final = re.compile(r'"(?:[^"\\]|\\.)*+"|[\[\]{},:\n]', re.DOTALL)


class ScriptsFile(NamedTuple):
    """The scripts of a file, and the line at which each begins."""

    scripts: Sequence[NewScript]
    lines: Sequence[int]


def read_scripts(path: Path, ids: IdSource) -> ScriptsFile:
    """All scripts of a file. Raises BadFile with every fault, by line and step; BadSettings."""
    body = read_regular(path, SCRIPT_FILE_BYTES_MAX)
    if len(body) > SCRIPT_FILE_BYTES_MAX:
        raise BadSettings(f"{path} is larger than {SCRIPT_FILE_BYTES_MAX >> 20} MiB")
    if body.lstrip()[:1] == b"{":
        body = b"[" + body + b"]"
    try:
        rows = read_body(body, _TABLE)
    except Refused as error:
        raise BadFile(_faults(error, body)) from None
    lines = _lines(body.decode())
    found, faults = [], []
    for number, row in enumerate(rows):
        try:
            subject = script.subject_of({kind: row[kind] for kind in script.SUBJECTS})
            steps = script.read_steps(row["steps"])
            found.append(NewScript(ids.new("scr"), subject, steps))
        except Refused as error:
            faults += [_fault(lines, f"{number}.{one['path']}", one) for one in _params(error)]
    if faults:
        raise BadFile(faults)
    return ScriptsFile(found, [lines[f"{number}"] for number in range(len(rows))])


def bad_subjects(file: ScriptsFile, refusals: Sequence[tuple[int, Refused]]) -> BadFile:
    """The refusals of scripts, by number, as faults of their lines."""
    return BadFile(
        [
            LineFault(file.lines[number], f"script {number + 1}", refusal.detail)
            for number, refusal in refusals
        ]
    )


def _params(error: Refused) -> Sequence[dict[str, str]]:
    params: Sequence[dict[str, str]] = error.context.get("params", ())  # type: ignore[assignment]
    return params


def _faults(error: Refused, body: bytes) -> list[LineFault]:
    cause = error.__cause__
    if isinstance(cause, json.JSONDecodeError):
        return [LineFault(cause.lineno, "", f"This is not JSON: {cause.msg}.")]
    params = _params(error)
    if not params:
        return [LineFault(1, "", error.detail.replace("The body", "The file"))]
    lines = _lines(body.decode())
    return [_fault(lines, one["path"].removeprefix("body."), one) for one in params]


def _fault(lines: dict[str, int], path: str, param: dict[str, str]) -> LineFault:
    """A fault at the line of its value, or of what should have it."""
    place = path
    while place and place not in lines:
        place = place.rpartition(".")[0]
    return LineFault(lines.get(place, 1), _said(path), param["detail"])


def _said(path: str) -> str:
    """`script 1, step 3, price` of `0.steps.2.price`."""
    script_number, *rest = path.split(".")
    words = [f"script {int(script_number) + 1}"] if script_number.isdecimal() else []
    if rest[:1] == ["steps"] and len(rest) > 1:
        words.append(f"step {int(rest[1]) + 1}")
        rest = rest[2:]
    return ", ".join([*words, *rest])


def _lines(text: str) -> dict[str, int]:
    """Path of each value in a JSON text, such as `0.steps.2.price` -> its line, from 1."""
    return {".".join(map(str, path)): line for path, line in _places(text)}


def _places(text: str) -> Iterator[tuple[tuple[str | int, ...], int]]:
    """The places of objects, and of members by their names. Of well-formed JSON."""
    line = 1
    path: list[str | int] = []
    is_key: list[bool] = []  # per level: an object that awaits a name
    for mark in (match.group() for match in _TOKEN.finditer(text)):
        if mark == "\n":
            line += 1
        elif mark in "[{":
            if path and mark == "{":
                yield tuple(path), line
            path.append(0 if mark == "[" else "")
            is_key.append(mark == "{")
        elif mark in "]}":
            path.pop()
            is_key.pop()
        elif mark == ",":
            last = path[-1]
            if isinstance(last, int):
                path[-1] = last + 1
            else:
                is_key[-1] = True
        elif mark != ":" and is_key[-1]:
            path[-1], is_key[-1] = json.loads(mark), False
            yield tuple(path), line

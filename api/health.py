"""Whether this process lives, and whether it can serve."""

from __future__ import annotations

from api.call import Answer, Call
from engine.errors import EngineError
from projections.resources import encode


async def live(_: Call) -> Answer:
    """The event loop turns."""
    return Answer(200, b'{"status":"live"}')


async def ready(call: Call) -> Answer:
    """The journal and the views can be read, and requests are welcome; else the reasons why not.

    How far views are behind is shown, and no reason: what needs them waits or says so.
    """
    services, reasons = call.engine, []
    if services.is_stopping:
        reasons.append({"code": "stopping", "detail": "the process is stopping"})
    head, offsets = 0, {}
    try:
        head = await services.bridge.read(lambda: services.bridge.journal.head)
    except EngineError as error:
        reasons.append({"code": error.code, "detail": "the journal cannot be read"})
    try:
        offsets = await services.bridge.read(services.views.offsets)
        if await services.bridge.read(services.views.quarantined):
            reasons.append({"code": "view_quarantined", "detail": "a view holds an unreadable fact"})
    except EngineError as error:
        reasons.append({"code": error.code, "detail": "the views cannot be read"})
    is_ready = not [reason for reason in reasons if reason["code"] != "view_quarantined"]
    body = {
        "status": "ready" if is_ready else "not_ready",
        "reasons": reasons,
        "journal_offset": head,
        "views_behind": {name: max(0, head - offset) for name, offset in sorted(offsets.items())},
    }
    return Answer(200 if is_ready else 503, encode(body), None if is_ready else {"Retry-After": "1"})

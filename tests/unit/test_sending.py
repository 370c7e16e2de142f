"""The schedule, lanes, signatures, and what the router makes of facts."""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from standardwebhooks import Webhook

from api.outbound.bodies import delivery_id, event_id
from api.outbound.courier import Post
from api.outbound.lanes import NARROW, WIDE, Lane, shares
from api.outbound.posting import retry_after_us
from api.outbound.sender import Done
from engine.domain.attempts import DELAYS_MAX_S, OUTCOMES, Attempt, after
from engine.kernel.limits import (
    ATTEMPTS_MAX,
    DUE_PAGE,
    NOTES_AT_ONCE,
    NOTES_COUNTED_S,
    WEBHOOK_AHEAD,
    WEBHOOK_FAILURES,
)
from engine.kernel.signature import signature
from engine.registers.deliveries import Delivery
from tests.support.models.table import rows

SECOND_US = 1_000_000
numbers = count(1)


def failed(status: int | None = 500, retry_after_us: int = 0) -> Attempt:
    return Attempt(1, "http", status, 1, retry_after_us)


def a_delivery(resource: str = "ord_1", seq: int | None = None) -> Delivery:
    number = next(numbers) if seq is None else seq
    return Delivery(
        seq=number,
        webhook="whk_1",
        tenant="acme",
        resource=resource,
        event="order.placed",
        event_offset=7,
        event_us=1,
        created_us=1,
        status="pending",
        attempts=0,
        tries=0,
        due_us=1,
        finished_us=None,
    )


# --- the schedule ---------------------------------------------------------------------------------

SCHEDULE = """
attempt|at most, s
1      |0
2      |1
3      |6
4      |36
5      |216
6      |1296
7      |7776
8      |46656
9      |86400
10     |86400
"""


def test_pauses_are_those_of_the_contract() -> None:
    table = {int(row["attempt"]): int(row["at most, s"]) for row in rows(SCHEDULE)}
    assert table == dict(enumerate(DELAYS_MAX_S, 1))
    for n in range(2, ATTEMPTS_MAX + 1):
        assert table[n] == min(86_400, 6 ** (n - 2))


@pytest.mark.parametrize("jitter", [0.0, 0.5, 1.0])
def test_a_failure_is_due_again_within_its_pause(jitter: float) -> None:
    for tries in range(1, ATTEMPTS_MAX):
        follows = after(failed(), tries, now_us=5, jitter=jitter)
        assert follows == ("pending", 5 + int(DELAYS_MAX_S[tries] * jitter * SECOND_US))
    assert after(failed(), ATTEMPTS_MAX, now_us=5, jitter=jitter) == ("failed", None)


def test_success_is_the_end_at_any_attempt() -> None:
    for tries in range(1, ATTEMPTS_MAX + 1):
        assert after(Attempt(1, "succeeded", 200, 1), tries, now_us=5, jitter=1) == ("succeeded", None)
    assert {after(Attempt(1, one, None, 1), 1, now_us=5, jitter=1).status for one in OUTCOMES[1:]} == {  # type: ignore[arg-type]
        "pending"
    }


@pytest.mark.parametrize(
    ("status", "asked_s", "waits_s"),
    [(429, 60, 60), (503, 60, 60), (500, 60, 1), (429, 0, 1), (429, 10**6, 86_400)],
)
def test_retry_after(status: int, asked_s: int, waits_s: int) -> None:
    follows = after(failed(status, asked_s * SECOND_US), 1, now_us=0, jitter=1.0)
    assert follows.due_us == waits_s * SECOND_US


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("", 0), ("120", 120), (" 7 ", 7), ("-1", 0), ("1.5", 0), ("99999999", 86_400), ("soon", 0),
     ("Thu, 01 Jan 1970 00:02:00 GMT", 60), ("Thu, 01 Jan 1970 00:00:10 GMT", 0), ("١٢", 0),
     ("Fri, 31 Dec 9999 23:59:59 GMT", 86_400)],
)  # fmt: skip
def test_reading_retry_after(text: str, seconds: int) -> None:
    assert retry_after_us({"Retry-After": text}, 60 * SECOND_US) == seconds * SECOND_US


# --- signatures -----------------------------------------------------------------------------------


def test_the_published_verifier_takes_it() -> None:
    keys = [bytes(range(32)), bytes(range(1, 33))]
    now = int(datetime.now(UTC).timestamp())
    body = '{"name":"Zoë"}'.encode()
    headers = {"webhook-id": "whd_1", "webhook-timestamp": str(now),
               "webhook-signature": signature("whd_1", now, body, keys)}  # fmt: skip
    for key in keys:
        verifier = Webhook(base64.b64encode(key).decode())
        assert verifier.verify(body, headers) == {"name": "Zoë"}
        with pytest.raises(Exception, match="No matching signature"):
            verifier.verify(body + b" ", headers)
        with pytest.raises(Exception, match="No matching signature"):
            verifier.verify(body, headers | {"webhook-id": "whd_2"})


def test_a_signature_keeps_its_bytes() -> None:
    """The example of the specification."""
    key = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = signature("msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}', [key])
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_ids_tell_deliveries_and_events_apart() -> None:
    test, other = a_delivery()._replace(event_offset=0), a_delivery()
    assert len({delivery_id(test), delivery_id(other)}) == 2
    assert event_id(other) == event_id(a_delivery())
    assert event_id(test) != event_id(a_delivery()._replace(event_offset=0))


# --- lanes ----------------------------------------------------------------------------------------


def lane_of(*deliveries: Delivery, width: int = WIDE) -> Lane:
    lane = Lane("whk_1", 0.0)
    lane._width = width
    for delivery in deliveries:
        lane.add(delivery)
    return lane


def test_of_a_resource_one_is_under_way() -> None:
    first, second, other = a_delivery("ord_1"), a_delivery("ord_1"), a_delivery("ord_2")
    lane = lane_of(first, second, other)
    assert [lane.take(1), lane.take(1), lane.take(1)] == [[first], [other], []]
    assert lane.is_done(first, has_succeeded=True, now_s=1.0)
    assert not lane.is_done(first, has_succeeded=True, now_s=1.0)
    assert lane.take(9) == [second]


def test_a_lane_narrows_when_it_fails_and_widens_when_it_does_not() -> None:
    lane = lane_of(*(a_delivery(f"ord_{n}") for n in range(200)), width=NARROW)
    widths = []
    for _ in range(40):
        (taken,) = lane.take(1)
        lane.is_done(taken, has_succeeded=True, now_s=1.0)
        widths.append(lane.width)
    assert widths == sorted(widths)
    assert lane.width == WIDE
    for _ in range(5):
        (taken,) = lane.take(1)
        lane.is_done(taken, has_succeeded=False, now_s=1.0)
    assert lane.width == NARROW


def test_a_receiver_that_takes_nothing_is_given_rests() -> None:
    lane = lane_of(*(a_delivery(f"ord_{n}") for n in range(200)), width=NARROW)
    rests = []
    for _ in range(20):
        (taken,) = lane.take(1)
        lane.is_done(taken, has_succeeded=False, now_s=5.0)
        rests.append(round(lane.backoff_until_s - 5.0, 2) if lane.backoff_until_s else 0.0)
    assert rests[:10] == [0.0] * 8 + [0.02, 0.04]
    assert rests[-1] == 1.0
    assert lane.room == NARROW
    (taken,) = lane.take(1)
    lane.is_done(taken, has_succeeded=True, now_s=6.0)
    assert (lane.backoff_until_s, lane.room > NARROW) == (0.0, True)


def test_a_lane_wants_no_more_than_it_is_about_to_send() -> None:
    lane = Lane("whk_1", 0.0)
    once = WEBHOOK_AHEAD * NARROW
    assert lane.wanted(0.0) == 2 * once
    for n in range(2 * once + 1):
        lane.add(a_delivery(f"ord_{n}"))
    assert lane.wanted(0.0) == 0
    assert len(lane.take(once)) == once
    assert lane.wanted(0.0) == 0, "more wait than it sends at once"
    lane.sent.clear()
    lane.take(once)
    assert lane.wanted(0.0) == 2 * once - 1
    for _ in range(WEBHOOK_FAILURES + 1):
        (seq, resource), *_ = [(seq, resource) for resource, seq in lane.sent.items()]
        lane.is_done(a_delivery(resource, seq), has_succeeded=False, now_s=1.0)
    assert lane.wanted(lane.backoff_until_s - 0.001) == 0, "it is given a rest"
    assert lane.wanted(lane.backoff_until_s) == 0, "some are under way"
    lane.sent.clear()
    assert lane.wanted(lane.backoff_until_s) == NARROW - len(lane.ready)
    for n in range(NARROW):
        lane.add(a_delivery(f"again_{n}"))
    assert lane.wanted(lane.backoff_until_s) == 0, "and tried with what it was sent before"


def test_a_receiver_that_takes_nothing_is_given_more_once_in_a_rest() -> None:
    """Though nothing of it is due: it may all be of one resource, which waits for its next attempt."""
    lane = Lane("whk_1", 0.0)
    for _ in range(WEBHOOK_FAILURES + 20):
        lane.add(a_delivery())
        (taken,) = lane.take(1)
        lane.is_done(taken, has_succeeded=False, now_s=5.0)
    assert lane.is_failing
    given, now_s = 0, 6.0
    while now_s < 16.0:  # a turn after each commit
        wanted = lane.wanted(now_s)
        if wanted:
            given += wanted
            lane.feed(now_s)
        now_s += 0.0625
    assert given == 10 * NARROW
    lane.add(a_delivery())
    (taken,) = lane.take(1)
    lane.is_done(taken, has_succeeded=True, now_s=16.0)
    assert not lane.is_failing
    assert lane.wanted(16.0) > NARROW


def test_lanes_share_what_there_is_in_turns() -> None:
    """One that is full of work takes no more than its turn."""
    busy = lane_of(*(a_delivery(f"ord_{n}") for n in range(50)))
    quiet = [lane_of(a_delivery(), width=NARROW) for _ in range(3)]
    chosen = shares([busy, *quiet], 4, 0)
    assert [one in busy.sent.values() for one in (d.seq for d in chosen)].count(True) == 1
    assert len(shares([busy, *quiet], 100, 0)) == 49
    assert shares([], 10, 3) == []
    assert shares([busy], 0, 0) == []


def test_a_lane_that_hangs_holds_no_more_than_its_part() -> None:
    hanging, well = lane_of(*(a_delivery(f"ord_{n}") for n in range(500))), Lane("whk_2", 0.0)
    hanging.cap = well.cap = 8
    assert len(shares([hanging], 1_000, 0)) == WEBHOOK_AHEAD * 8
    assert hanging.width == 8
    well.add(a_delivery())
    assert len(shares([hanging, well], 1_000, 1)) == 1
    assert shares([hanging, well], 0, 1) == []


class Table:
    """What `Deliveries` tells a lane."""

    def __init__(self, due: list[Delivery], next_us: int | None = None) -> None:
        self.rows, self.next_us, self.asked = due, next_us, 0

    def due(self, _: str, __: int, limit: int) -> list[Delivery]:
        self.asked += 1
        return self.rows[:limit]

    def next_due_us(self, _: str) -> int | None:
        return self.next_us


def test_a_lane_looks_again_when_something_is_due() -> None:
    lane = Lane("whk_1", 0.0)
    table: Any = Table([], next_us=300_000)
    assert lane.is_poll_due(0.0)
    lane.fill(table, 0, 0.0)
    assert not lane.is_poll_due(0.2)
    assert lane.is_poll_due(0.3)
    table = Table([a_delivery(f"ord_{n}") for n in range(2 * DUE_PAGE)])
    lane.fill(table, 0, 1.0)
    assert len(lane.ready) == DUE_PAGE
    assert not lane.is_poll_due(1.0), "there is enough for now"
    lane.ready.clear()
    assert lane.is_poll_due(1.0), "there is more in the table"
    lane.add(a_delivery())
    assert lane.clear()
    assert not lane.clear()
    assert lane.take(9) == []
    assert lane.is_poll_due(0.0)


# --- noting ---------------------------------------------------------------------------------------


class Doing:
    """A sender that has done so many each time it is asked."""

    def __init__(self, number: int) -> None:
        self.number = number

    def take(self) -> list[Done]:
        return [Done(a_delivery(f"ord_{n}"), None) for n in range(self.number)]


@pytest.mark.parametrize(("taken", "rings"), [(1, [1, 2, 3]), (5 * NOTES_AT_ONCE, [NOTES_AT_ONCE])])
def test_what_is_done_is_noted_at_once_unless_much_comes(taken: int, rings: list[int]) -> None:
    """However many are under way: those that never answer keep nobody waiting."""
    heard, clock = [0], iter(n * NOTES_COUNTED_S for n in count())
    post = Post(lambda: heard.append(0), lambda _: None, lambda: next(clock))  # type: ignore[arg-type, return-value]
    post.under_way = 10 * NOTES_AT_ONCE
    post._sender = Doing(taken)  # type: ignore[assignment]
    rung = []
    for waiting in range(1, NOTES_AT_ONCE + 1):
        post.take()
        before = len(heard)
        post._on_done(waiting)
        rung += [waiting] if len(heard) > before else []
    assert rung[: len(rings)] == rings

"""A bucket request by request, as tables, and what holds for any quota and any times."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kernel.errors import BadSettings
from engine.kernel.rate import SECOND_NS, Quota, parse_quota, spend, turn, wait_ns
from tests.support.models.table import rows

TABLE = """
quota|at s |left|wait s
3/60 |100  |2   |0
3/60 |100  |1   |0
3/60 |100  |0   |0
3/60 |100  |0   |20
3/60 |119  |0   |1
3/60 |120  |0   |0
3/60 |120  |0   |20
3/60 |160  |1   |0
3/60 |1000 |2   |0
1/10 |0    |0   |0
1/10 |9    |0   |1
1/10 |10   |0   |0
"""
"""Requests on one bucket for each quota, in their order."""


def test_requests_by_the_table() -> None:
    full_at_ns: dict[str, int] = {}
    for row in rows(TABLE):
        quota = parse_quota(row["quota"], "quota")
        assert quota is not None
        at_ns = int(row["at s"]) * SECOND_NS
        before_ns = full_at_ns.get(row["quota"], 0)
        assert wait_ns(quota, before_ns, at_ns) == int(row["wait s"]) * SECOND_NS
        spent = spend(quota, before_ns, at_ns)
        full_at_ns[row["quota"]] = spent.full_at_ns
        assert (spent.left, spent.wait_ns) == (int(row["left"]), int(row["wait s"]) * SECOND_NS), row


TURNS = """
quota|at s |wait s
2/20 |100  |0
2/20 |100  |0
2/20 |100  |10
2/20 |100  |20
2/20 |100  |25
2/20 |100  |25
2/20 |125  |5
2/20 |1000 |0
"""
"""Requests on one bucket, none of which is refused and none waits for over 25 s."""


def test_turns_by_the_table() -> None:
    full_at_ns = 0
    for row in rows(TURNS):
        quota = parse_quota(row["quota"], "quota")
        assert quota is not None
        spent = turn(quota, full_at_ns, int(row["at s"]) * SECOND_NS, 25 * SECOND_NS)
        full_at_ns = spent.full_at_ns
        assert spent.wait_ns == int(row["wait s"]) * SECOND_NS, row


@pytest.mark.parametrize(
    "text",
    ["", "600", "600/", "/60", "0/60", "600/0", "-1/60", "6e2/60", "1/2/3", "٣/60", "OFF", " 6/6"],
)
def test_what_is_no_quota(text: str) -> None:
    with pytest.raises(BadSettings, match="THE_NAME"):
        parse_quota(text, "THE_NAME")


def test_what_is_one() -> None:
    assert parse_quota("600/60", "") == Quota(600, 60)
    assert parse_quota("off", "") is None


QUOTAS = st.builds(Quota, st.integers(1, 1_000), st.integers(1, 3_600))
PAUSES = st.lists(st.integers(0, 5 * SECOND_NS), min_size=1, max_size=200)


@given(QUOTAS, PAUSES)
def test_no_window_lets_more_through_than_a_burst_and_its_refill(
    quota: Quota, pauses: list[int]
) -> None:
    now_ns, full_at_ns, passed = 0, 0, list[int]()
    for pause in pauses:
        now_ns += pause
        spent = spend(quota, full_at_ns, now_ns)
        full_at_ns = spent.full_at_ns
        if not spent.wait_ns:
            passed.append(now_ns)
    for n, first_ns in enumerate(passed):
        for m in range(n, len(passed)):
            assert m - n + 1 <= quota.requests + (passed[m] - first_ns) * quota.requests // (
                quota.seconds * SECOND_NS
            )


@given(st.builds(Quota, st.integers(1, 50), st.integers(1, 60)))
def test_who_sends_as_soon_as_allowed_gets_no_more_either(quota: Quota) -> None:
    now_ns, full_at_ns = 0, 0
    for passed in range(1, 4 * quota.requests):
        assert passed <= quota.requests + now_ns * quota.requests // (quota.seconds * SECOND_NS)
        full_at_ns = spend(quota, full_at_ns, now_ns).full_at_ns
        now_ns += wait_ns(quota, full_at_ns, now_ns)


@given(QUOTAS, st.integers(0, 10**18), st.integers(0, 2_000))
def test_who_waits_as_told_is_let_through_and_not_a_moment_before(
    quota: Quota, now_ns: int, tries: int
) -> None:
    full_at_ns = 0
    for _ in range(min(tries, quota.requests) + 1):
        spent = spend(quota, full_at_ns, now_ns)
        full_at_ns = spent.full_at_ns
        if spent.wait_ns:
            assert spend(quota, full_at_ns, now_ns + spent.wait_ns).wait_ns == 0
            assert spend(quota, full_at_ns, now_ns + spent.wait_ns - 1).wait_ns == 1


@given(QUOTAS, PAUSES)
def test_turns_come_one_after_the_other_and_no_closer_than_the_quota(
    quota: Quota, pauses: list[int]
) -> None:
    now_ns, full_at_ns, turns = 0, 0, list[int]()
    for pause in pauses:
        now_ns += pause
        spent = turn(quota, full_at_ns, now_ns, 10**20)
        full_at_ns = spent.full_at_ns
        turns.append(now_ns + spent.wait_ns)
    assert turns == sorted(turns)
    for first_ns, last_ns in zip(turns, turns[quota.requests :], strict=False):
        assert last_ns - first_ns >= quota.interval_ns


@given(QUOTAS, st.integers(0, 10**18))
def test_what_is_said_to_be_left_can_be_spent_at_once(quota: Quota, now_ns: int) -> None:
    spent = spend(quota, 0, now_ns)
    assert spent.left == quota.requests - 1
    for left in range(spent.left, 0, -1):
        spent = spend(quota, spent.full_at_ns, now_ns)
        assert (spent.wait_ns, spent.left) == (0, left - 1)
    refused = spend(quota, spent.full_at_ns, now_ns)
    assert refused.wait_ns > 0
    assert refused.full_at_ns == spent.full_at_ns

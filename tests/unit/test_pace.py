"""When the next page of the views begins."""

from __future__ import annotations

import pytest

from order_engine.roles import rest_s

TABLE = """
    took   full   rests
    0.003  no     0.047    few facts: pages begin 50 ms apart
    0.020  no     0.040    many: a third of the time
    0.040  no     0.080
    0.090  no     0.100    but never for long
    0.090  yes    0        there is more already
"""


@pytest.mark.parametrize("line", TABLE.strip().splitlines()[1:])
def test_pages_of_views_rest(line: str) -> None:
    took, full, rests, *_ = line.split()
    assert rest_s(float(took), is_full=full == "yes") == pytest.approx(float(rests))

"""The result of a decision over several streams."""

from __future__ import annotations

from typing import NamedTuple

from engine.kernel.fact import Fact


class Decided(NamedTuple):
    """Facts by stream, in the order of one append.

    The account's come first, so that at every offset of the journal the money agrees with the status of
    the `subject`, an order or a payment. A parked report's come last.
    """

    account: list[Fact]
    subject: list[Fact]
    parked: list[Fact]

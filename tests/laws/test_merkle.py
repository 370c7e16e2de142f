"""Laws of the tree: every leaf is proven, and nothing else; a tree that grew contains the one before."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given, settings
from hypothesis import strategies as st

from engine.proof import merkle
from engine.proof.merkle import Fetch, Frontier

LARGEST = 700
"""Leaves: more than two whole tiers, so that stored nodes and ragged edges both occur."""
LEAVES = [merkle.leaf(number.to_bytes(4, "big")) for number in range(LARGEST)]
SIZES = st.integers(1, LARGEST) | st.sampled_from([1, 2, 255, 256, 257, 511, 512, 513])


def fetching(leaves: Sequence[bytes]) -> Fetch:
    return lambda level, index: merkle.full(leaves[index << level : (index + 1) << level])


FETCH = fetching(LEAVES)


def naive(leaves: Sequence[bytes]) -> bytes:
    """The root as RFC 6962 defines it, word by word."""
    if len(leaves) < 2:
        return leaves[0] if leaves else merkle.EMPTY
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return merkle.node(naive(leaves[:split]), naive(leaves[split:]))


@settings(max_examples=60)
@given(SIZES, st.data())
def test_every_leaf_is_proven_and_no_flipped_bit(size: int, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, size - 1))
    root, path = merkle.root(size, FETCH), merkle.inclusion(index, size, FETCH)
    assert root == naive(LEAVES[:size])
    assert merkle.root_of(LEAVES[index], index, size, path) == root
    words = [LEAVES[index], *path]
    place, bit = data.draw(st.integers(0, len(words) - 1)), data.draw(st.integers(0, 255))
    flipped = bytearray(words[place])
    flipped[bit // 8] ^= 1 << bit % 8
    words[place] = bytes(flipped)
    assert merkle.root_of(words[0], index, size, words[1:]) != root
    other = data.draw(st.integers(0, size - 1))
    assert (merkle.root_of(LEAVES[index], other, size, path) == root) == (other == index)


def test_every_leaf_of_every_small_tree_is_proven() -> None:
    for size in range(1, 40):
        root = naive(LEAVES[:size])
        for index in range(size):
            path = merkle.inclusion(index, size, FETCH)
            assert merkle.root_of(LEAVES[index], index, size, path) == root


@settings(max_examples=30)
@given(SIZES, SIZES, st.integers(0, LARGEST - 1))
def test_a_tree_that_grew_contains_the_one_before_and_no_other_does(
    one: int, other: int, edited: int
) -> None:
    old, new = sorted((one, other))
    growing = Frontier.at(old, FETCH)
    for leaf in LEAVES[old:new]:
        list(growing.append(leaf))
    assert growing.root == merkle.root(new, FETCH)
    forged = [*LEAVES]
    forged[edited] = merkle.leaf(b"another")
    assert (merkle.root(old, fetching(forged)) == merkle.root(old, FETCH)) == (edited >= old)

"""The Merkle tree against the published vectors of Certificate Transparency, and its proofs in small."""

from __future__ import annotations

import pytest

from engine.proof import merkle
from engine.proof.merkle import EMPTY, TIER, Frontier, Node

LEAVES = [bytes.fromhex(text) for text in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f",
)]  # fmt: skip
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Root of the first n of LEAVES."""
PATHS = {
    (0, 1): [],
    (0, 8): [
        "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
    ],
    (5, 8): [
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
        "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    ],
    (2, 3): ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"],
    (1, 5): [
        "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
        "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
        "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
    ],
}
"""(leaf, size) -> the proof, as published with the roots."""


def fetch(level: int, index: int) -> bytes:
    """Full subtrees of LEAVES."""
    return merkle.full([merkle.leaf(data) for data in LEAVES[index << level : (index + 1) << level]])


@pytest.mark.parametrize("size", range(len(ROOTS)))
def test_roots_are_those_of_the_reference(size: int) -> None:
    growing = Frontier()
    for data in LEAVES[:size]:
        list(growing.append(merkle.leaf(data)))
    assert merkle.root(size, fetch).hex() == ROOTS[size]
    assert growing.root.hex() == ROOTS[size]
    assert Frontier.at(size, fetch).peaks == growing.peaks


@pytest.mark.parametrize(("leaf", "size"), PATHS)
def test_proofs_are_those_of_the_reference(leaf: int, size: int) -> None:
    path = merkle.inclusion(leaf, size, fetch)
    assert [one.hex() for one in path] == PATHS[leaf, size]
    made = merkle.root_of(merkle.leaf(LEAVES[leaf]), leaf, size, path)
    assert made is not None
    assert made.hex() == ROOTS[size]


def test_a_proof_of_another_shape_is_none() -> None:
    path = merkle.inclusion(5, 8, fetch)
    leaf = merkle.leaf(LEAVES[5])
    assert merkle.root_of(leaf, 8, 8, path) is None
    assert merkle.root_of(leaf, -1, 8, path) is None
    assert merkle.root_of(leaf, 5, 8, path[:-1]) is None
    assert merkle.root_of(leaf, 5, 8, [*path, EMPTY]) is None
    assert merkle.root_of(leaf, 4, 8, path) != merkle.root_of(leaf, 5, 8, path)


def test_whole_tiers_are_given_as_they_are_completed() -> None:
    growing, given = Frontier(), list[Node]()
    for number in range(2 * merkle.TILE + 7):
        given += growing.append(merkle.leaf(bytes([number % 256])))
    assert [(one.level, one.place) for one in given] == [(TIER, 0), (TIER, 1)]
    assert given[0].hash == merkle.full([merkle.leaf(bytes([n])) for n in range(256)])

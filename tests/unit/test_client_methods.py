"""The methods of both clients, as people and their tools see them."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable, Iterator
from typing import Any, get_type_hints

import jedi
import pytest

from client import generate
from order_engine_client import AsyncClient, Client

OWN = {"after", "entries", "run", "stream", "close", "aclose", "offset"}
"""Of the clients themselves; the others are operations of the API."""


def methods(kind: type) -> dict[str, Callable[..., Any]]:
    """The operations of a client."""
    members = inspect.getmembers(kind, inspect.isfunction)
    return {name: each for name, each in members if name not in OWN and not name.startswith("_")}


def shape(method: Callable[..., Any]) -> Any:
    """Name, kind, default and type of each parameter."""
    return [
        (one.name, one.kind, one.default, one.annotation)
        for one in inspect.signature(method).parameters.values()
    ]


def test_the_methods_are_those_of_the_endpoints() -> None:
    for path, text in generate.written().items():
        assert path.read_text() == text, f"{path.name} is stale: run `python -m client.generate`"


def test_both_clients_have_the_same_methods() -> None:
    blocking, awaiting = methods(Client), methods(AsyncClient)
    assert {*blocking} == {*awaiting}
    assert len(blocking) > 60
    for name, method in blocking.items():
        twin = awaiting[name]
        assert shape(method) == shape(twin), name
        assert method.__doc__, name
        assert method.__doc__ == twin.__doc__, name


@pytest.mark.parametrize("name", methods(Client))
def test_what_is_awaited_is_a_coroutine_function(name: str) -> None:
    method, twin = methods(Client)[name], methods(AsyncClient)[name]
    gives, given = get_type_hints(method)["return"], get_type_hints(twin)["return"]
    is_list = getattr(gives, "__origin__", None) is Iterator
    assert inspect.iscoroutinefunction(twin) is not is_list
    assert not inspect.iscoroutinefunction(method)
    assert given.__args__ == gives.__args__ if is_list else given == gives
    assert gives is not Any


def test_help_shows_signatures_and_docstrings() -> None:
    text = pydoc.plain(pydoc.render_doc(AsyncClient))
    assert "async buy(" in text or "async def buy(" in text
    assert "cash_amount: 'Amount'" in text
    assert "Places a buy for `cash_amount`, fees included, in" in text


@pytest.mark.parametrize("kind", ["Client", "AsyncClient"])
@pytest.mark.parametrize(
    ("word", "docstring"), [("buy", "Places a buy"), ("follow_events", "Events as")]
)
def test_completion_shows_methods_with_signature_and_docstring(
    kind: str, word: str, docstring: str
) -> None:
    start = f"from order_engine_client import {kind}\nclient = {kind}('https://a.example', 'b', 'c')\n"
    found = jedi.Script(f"{start}client.{word[:-1]}").complete()
    assert word in {one.name for one in found}
    (signature,) = jedi.Script(f"{start}client.{word}(").get_signatures()
    assert {"account", "cash_amount"} <= {p.name for p in signature.params} or word != "buy"
    assert docstring in signature.docstring()


def test_completion_knows_the_type_of_a_result() -> None:
    code = (
        "from order_engine_client import Client\n"
        "order = Client('https://a.example', 'b', 'c').buy('a', 'i', 1)\norder.traded_q"
    )
    assert [one.name for one in jedi.Script(code).complete()] == ["traded_quantity"]

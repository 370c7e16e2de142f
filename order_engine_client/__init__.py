"""A client of the order engine's HTTP API, for threads (`Client`) and for asyncio (`AsyncClient`).

It fetches and renews its token, gives every order, cancellation and payment an idempotency key, asks
again where that is safe, and goes through lists page by page. It needs `httpx` and `msgspec`, nothing of
the engine.
"""

from order_engine_client.clients import AsyncClient, Client
from order_engine_client.endpoints import NewPrice
from order_engine_client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NoAnswer,
    NotAuthenticated,
    NotFound,
    OrderEngineError,
    Param,
    Problem,
    Refused,
    ServerFault,
    StillWaiting,
    TooManyRequests,
    Unavailable,
    UnexpectedAnswer,
)
from order_engine_client.resources import (
    TERMINAL,
    Account,
    Balance,
    Clock,
    Deposit,
    Event,
    EventResource,
    Instrument,
    Order,
    OrderInstrument,
    ParkedReport,
    Position,
    Price,
    Resource,
    Trade,
    Transaction,
    Withdrawal,
)
from order_engine_client.values import SAME, Amount

__all__ = [
    "SAME",
    "TERMINAL",
    "Account",
    "Amount",
    "AsyncClient",
    "Balance",
    "Client",
    "Clock",
    "Conflict",
    "Deposit",
    "Event",
    "EventResource",
    "Forbidden",
    "Instrument",
    "Invalid",
    "NewPrice",
    "NoAnswer",
    "NotAuthenticated",
    "NotFound",
    "Order",
    "OrderEngineError",
    "OrderInstrument",
    "Param",
    "ParkedReport",
    "Position",
    "Price",
    "Problem",
    "Refused",
    "Resource",
    "ServerFault",
    "StillWaiting",
    "TooManyRequests",
    "Trade",
    "Transaction",
    "Unavailable",
    "UnexpectedAnswer",
    "Withdrawal",
]

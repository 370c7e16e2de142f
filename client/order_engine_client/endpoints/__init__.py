"""The operations of the API, described once: one function each, in a file per subject.

Reads are nouns, writes are verbs. Amounts are `Decimal`, `int` or `str`, never float; times need a time
zone. `key` is the idempotency key of a write that has one: random unless given. The methods of `Client`
and `AsyncClient` are generated from these functions (`python -m client.generate`).
"""

from order_engine_client.endpoints import (
    accounts,
    actions,
    events,
    market,
    operator,
    orders,
    payments,
    webhooks,
)

__all__ = ["accounts", "actions", "events", "market", "operator", "orders", "payments", "webhooks"]

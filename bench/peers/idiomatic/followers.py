"""Work after an order was placed: execution and settlement, and the view of orders."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from datetime import datetime
from threading import Event, Thread
from typing import Any
from uuid import UUID

import sqlalchemy as sa
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.persistence import Tracking
from eventsourcing.system import NotificationLogReader
from eventsourcing.utils import get_topic
from eventsourcing_sqlalchemy.recorders import SQLAlchemyTrackingRecorder
from sqlalchemy.orm import Session

from bench.peers.idiomatic.application import Trading
from bench.peers.idiomatic.domain import Order

PLACED, FILLED, SETTLED = Order.Placed, Order.Filled, Order.Settled


class FollowerThread(Thread):
    """Follows the notification log from where it stopped, and waits to be woken at its end."""

    topics: Sequence[str] = ()

    def __init__(self, trading: Trading, tracking: SQLAlchemyTrackingRecorder) -> None:
        super().__init__(name=type(self).__name__)
        self.trading = trading
        self.tracking = tracking
        self.reader = NotificationLogReader(trading.notification_log, section_size=100)
        self.wake_up = Event()
        self.is_stopping = False
        trading.wake_ups.append(self.wake_up)

    def run(self) -> None:
        try:
            while not self.is_stopping:
                self.wake_up.clear()
                start = self.tracking.max_tracking_id(self.name)
                for notifications in self.reader.select(
                    start=start, topics=self.topics, inclusive_of_start=False
                ):
                    self.follow(notifications)
                    if self.is_stopping:
                        return
                self.wake_up.wait(1)
        except Exception:
            logging.exception("%s stopped", self.name)

    def stop(self) -> None:
        self.is_stopping = True
        self.wake_up.set()
        self.join()

    def follow(self, notifications: Sequence[Any]) -> None:
        raise NotImplementedError


class Execution(FollowerThread):
    """Executes what was placed, settles what was filled. To do either twice changes nothing, so it is
    enough to note the place after each section."""

    topics = (get_topic(PLACED), get_topic(FILLED))

    def follow(self, notifications: Sequence[Any]) -> None:
        for notification in notifications:
            if notification.topic == self.topics[0]:
                self.trading.execute_order(notification.originator_id)
            else:
                self.trading.settle_order(notification.originator_id)
        self.tracking.insert_tracking(Tracking(self.name, notifications[-1].id))


class OrderView(SQLAlchemyTrackingRecorder):
    """The view's table, and in the same transaction how far it has come."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.orders = sa.Table(
            "order_view",
            sa.MetaData(),
            sa.Column("number", sa.Integer, primary_key=True),
            sa.Column("id", sa.Text, unique=True, nullable=False),
            sa.Column("account", sa.Text, nullable=False),
            sa.Column("status", sa.Text, nullable=False),
            sa.Column("body", sa.Text, nullable=False),
            sa.Index("order_view_by_account", "account", "number"),
        )

    def create_table(self) -> None:
        super().create_table()
        self.orders.create(self.datastore.engine, checkfirst=True)

    def add(self, session: Session, order: dict[str, Any]) -> None:
        row = {name: order[name] for name in ("id", "account", "status")}
        session.execute(self.orders.insert().values(**row, body=json.dumps(order)))

    def change(self, session: Session, order_id: UUID, **changes: str) -> None:
        its = self.orders.c.id == str(order_id)
        body = session.execute(sa.select(self.orders.c.body).where(its)).scalar_one()
        order = json.loads(body) | changes
        values = {"status": order["status"], "body": json.dumps(order)}
        session.execute(self.orders.update().where(its).values(values))

    def track(self, session: Session, tracking: Tracking) -> None:
        self._insert_tracking(session, tracking)

    def get(self, order_id: str) -> str | None:
        with self.transaction(commit=False) as session:
            query = sa.select(self.orders.c.body).where(self.orders.c.id == order_id)
            return session.execute(query).scalar_one_or_none()

    def page(self, account: str, limit: int, before: str | None) -> list[str]:
        """Newest first."""
        orders = self.orders.c
        query = sa.select(orders.body).where(orders.account == account)
        if before is not None:
            query = query.where(
                orders.number < sa.select(orders.number).where(orders.id == before).scalar_subquery()
            )
        with self.transaction(commit=False) as session:
            return list(session.execute(query.order_by(orders.number.desc()).limit(limit)).scalars())


class OrderProjection(FollowerThread):
    """Keeps the view: a section of notifications in one transaction."""

    topics = (get_topic(PLACED), get_topic(FILLED), get_topic(SETTLED))
    tracking: OrderView

    def follow(self, notifications: Sequence[Any]) -> None:
        events = [self.trading.mapper.to_domain_event(each) for each in notifications]
        with self.tracking.transaction(commit=True) as session:
            for event in events:
                self.process_event(event, session)
            self.tracking.track(session, Tracking(self.name, notifications[-1].id))

    @singledispatchmethod
    def process_event(self, event: Any, session: Session) -> None:
        raise NotImplementedError

    @process_event.register
    def _(self, event: PLACED, session: Session) -> None:
        order = order_words(event.originator_id, event.account_id, event.timestamp)
        order |= {"status": "placed", "instrument": event.instrument, "currency": event.currency}
        order |= {
            "cash_amount": str(event.cash_amount),
            "net_cash_amount": str(event.cash_amount - event.fee),
            "fees": str(event.fee),
        }
        self.tracking.add(session, order)

    @process_event.register
    def _(self, event: FILLED, session: Session) -> None:
        self.tracking.change(
            session,
            event.originator_id,
            status="filled",
            traded_quantity=str(event.quantity),
            traded_notional=str(event.notional),
            fees=str(event.fee),
            filled_at=event.timestamp.isoformat(),
        )

    @process_event.register
    def _(self, event: SETTLED, session: Session) -> None:
        settled_at = event.timestamp.isoformat()
        self.tracking.change(session, event.originator_id, status="settled", settled_at=settled_at)


def order_words(order_id: UUID, account_id: UUID, created_at: datetime) -> dict[str, Any]:
    """An order's answer as it begins."""
    return {
        "id": str(order_id),
        "account": str(account_id),
        "order_type": "market",
        "side": "buy",
        "traded_quantity": "0",
        "traded_notional": "0",
        "created_at": created_at.isoformat(),
        "filled_at": None,
        "settled_at": None,
    }

"""Settings: options before variables, nothing secret in a message or a repr."""

from __future__ import annotations

from decimal import Decimal
from ipaddress import ip_network
from pathlib import Path

import pytest

from engine.config.settings import LIMIT_TIMES, LIMITS, RATES, Settings, read_settings
from engine.domain.trading_limits import Limits
from engine.kernel.errors import BadSettings
from engine.kernel.rate import Quota, Quotas


def test_defaults_are_a_sqlite_file_in_data_beside_us() -> None:
    settings = read_settings(environ={})
    assert settings.data == Path.cwd() / "data"
    assert settings.journal_url == f"sqlite:///{Path.cwd()}/data/journal.db"
    assert settings.master_key is None


def test_an_option_wins_over_its_variable_and_an_empty_variable_is_none() -> None:
    environ = {"ORDER_ENGINE_DATA": "/a", "ORDER_ENGINE_JOURNAL_URL": "", "ORDER_ENGINE_KEY": ""}
    assert read_settings(environ=environ) == Settings(Path("/a"), "sqlite:////a/journal.db", None)
    assert read_settings(data="/b", environ=environ).data == Path("/b")
    environ["ORDER_ENGINE_JOURNAL_URL"] = "postgresql://h/a"
    assert read_settings(environ=environ).journal_url == "postgresql://h/a"
    assert (
        read_settings(journal_url="postgresql://h/b", environ=environ).journal_url == "postgresql://h/b"
    )


def test_a_repr_holds_no_secret() -> None:
    environ = {"ORDER_ENGINE_JOURNAL_URL": "postgresql://joe:hunter2@h/a", "ORDER_ENGINE_KEY": "cafe"}
    assert "hunter2" not in repr(read_settings(environ=environ))
    assert "cafe" not in repr(read_settings(environ=environ))


@pytest.mark.parametrize("text", ["", " ", "a\0b", "a\nb", "a\x1b[2Jb", "a\udcffb"])
def test_a_name_that_cannot_be_printed_is_refused_and_not_quoted(text: str) -> None:
    with pytest.raises(BadSettings, match="--data"):
        read_settings(data=text, environ={})
    with pytest.raises(BadSettings, match="--journal-url") as caught:
        read_settings(journal_url=text, environ={})
    assert text.strip() == "" or text not in str(caught.value)


def test_a_directory_that_no_url_can_name_is_refused_unless_the_journal_is_elsewhere() -> None:
    with pytest.raises(BadSettings, match=r"\?"):
        read_settings(data="/what?", environ={})
    assert read_settings(data="/what?", journal_url="postgresql://h/a", environ={}).data == Path(
        "/what?"
    )


def test_quotas_have_defaults_and_can_be_set_or_switched_off_one_by_one() -> None:
    assert read_settings(environ={"ORDER_ENGINE_RATE_TOKENS": ""}).quotas == Quotas()
    environ = {"ORDER_ENGINE_RATE_CLIENT": "5/1", "ORDER_ENGINE_RATE_ADDRESS": "off"}
    quotas = read_settings(environ=environ).quotas
    assert quotas == Quotas(client=Quota(5, 1), address=None)
    assert set(RATES.values()) == set(Quotas._fields)


@pytest.mark.parametrize("name", RATES)
def test_what_is_no_quota_is_named(name: str) -> None:
    with pytest.raises(BadSettings, match=name):
        read_settings(environ={name: "many"})


def test_limits_of_trading() -> None:
    assert read_settings(environ=dict.fromkeys([*LIMITS, *LIMIT_TIMES], "")).limits is None
    environ = {
        "ORDER_ENGINE_LIMIT_ORDER": "USD=1000000, JPY=5",
        "ORDER_ENGINE_LIMIT_TENANT_DAY": "EUR=0.50",
        "ORDER_ENGINE_LIMIT_DUPLICATE_WINDOW": "5s",
    }
    assert read_settings(environ=environ).limits == Limits(
        order={"USD": Decimal("1000000.00"), "JPY": Decimal(5)},
        tenant_day={"EUR": Decimal("0.50")},
        duplicate_window_us=5_000_000,
    )
    assert {*LIMITS.values(), *LIMIT_TIMES.values()} == set(Limits._fields)


@pytest.mark.parametrize(
    "text", ["USD", "1", "USD=", "USD=-1", "XXX=1", "USD=1,USD=2", "USD=1,", "JPY=1.5"]
)
def test_what_is_no_limit_is_named(text: str) -> None:
    for name in LIMITS:
        with pytest.raises(BadSettings, match=name):
            read_settings(environ={name: text})
    for name in LIMIT_TIMES:
        with pytest.raises(BadSettings, match=name):
            read_settings(environ={name: text})


def test_trusted_proxies_are_networks() -> None:
    name = "ORDER_ENGINE_TRUSTED_PROXIES"
    proxies = read_settings(environ={name: " 10.0.0.0/8, ::1"}).trusted_proxies
    assert proxies == (ip_network("10.0.0.0/8"), ip_network("::1"))
    for text in ("10.0.0.1/8", "proxy", "10.0.0.0/8;::1"):
        with pytest.raises(BadSettings, match=name):
            read_settings(environ={name: text})

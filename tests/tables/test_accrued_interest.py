"""Accrued interest, coupons and yields: published examples with their source, and cases of our own."""

from __future__ import annotations

from datetime import date
from decimal import ROUND_HALF_UP, Decimal, localcontext

import pytest

from engine.domain.accrual import accrued_interest, coupon_amount, coupon_for
from engine.domain.coupon_schedule import BondTerms, fault_of
from engine.domain.day_count import days_between
from engine.domain.yields import yield_to_maturity
from engine.kernel.values import plain
from tests.support.models.table import rows


def terms_of(row: dict[str, str]) -> BondTerms:
    """A bond from the cells of a row; an empty cell is a term that was not given."""
    dates = {
        name: date.fromisoformat(row[column]) if row.get(column) else None
        for name, column in (
            ("maturity_date", "maturity"), ("first_coupon_date", "first"), ("issue_date", "issue")
        )
    }  # fmt: skip
    return BondTerms(
        coupon=Decimal(row["coupon"]) if row.get("coupon") else None,
        coupon_frequency=int(row["a year"]) if row.get("a year") else None,
        day_count_convention=row.get("convention") or None,
        par_value=Decimal(row.get("par") or 100),
        ex_coupon_days=int(row.get("ex") or 0),
        **dates,
    )


# --- published ------------------------------------------------------------------------------------

DAYS = """
# ISDA, 30/360 Day Count Conventions (22 December 2008), "30/360 Bond Basis", examples 1 to 3.
start      | end        | days
2006-08-20 | 2007-02-20 | 180
2007-02-20 | 2007-08-20 | 180
2007-08-20 | 2008-02-20 | 180
2008-02-20 | 2008-08-20 | 180
2008-08-20 | 2009-02-20 | 180
2006-08-31 | 2007-02-28 | 178
2007-02-28 | 2007-08-31 | 183
2007-08-31 | 2008-02-29 | 179
2008-02-29 | 2008-08-31 | 182
2008-08-31 | 2009-02-28 | 178
2006-01-31 | 2006-02-28 | 28
2006-01-30 | 2006-02-28 | 28
2006-02-28 | 2006-03-03 | 5
2006-02-14 | 2006-02-28 | 14
2006-09-30 | 2006-10-31 | 30
2006-10-31 | 2006-11-28 | 28
2008-02-28 | 2008-08-28 | 180
2008-02-28 | 2008-08-30 | 182
2008-02-28 | 2008-08-31 | 183
2007-02-26 | 2008-02-28 | 362
2007-02-26 | 2008-02-29 | 363
2008-02-29 | 2009-02-28 | 359
2008-02-28 | 2008-03-30 | 32
2008-02-28 | 2008-03-31 | 33
# Adams and Smith, Fixed Income Analysis (CFA Institute, 2019): 15 May to 27 June and to 15 November.
2019-05-15 | 2019-06-27 | 42
2019-05-15 | 2019-11-15 | 180
"""

PUBLISHED = """
# What is accrued on a date, or with `pays` the coupon of it; `to`: decimals that the source prints.
# Maturities and first dates that a source leaves open are ours, and change no figure.
# TI: BA II Plus guidebook and knowledge base. HP: 12C Platinum user's guide. Adams and Smith: as above.
# CFR: 31 CFR 356 Appendix B. ISDA: The Actual/Actual Day Count Fraction (1999), ISMA column, per 100 a year.
source            | what    | convention    | coupon | a year | issue      | first      | maturity   | par    | on         | amount       | to
CFR I.A.1         | pays    | actual_actual | 8      | 2      | 1990-02-15 |            | 1995-02-15 | 1000   | 1990-08-15 | 40           | 8
CFR I.A.3         | pays    | actual_actual | 8.375  | 2      | 1990-07-02 | 1990-12-31 | 1992-06-30 | 1000   | 1990-12-31 | 41.419837    | 6
CFR I.A.3         | pays    | actual_actual | 8.375  | 2      | 1990-07-02 | 1990-12-31 | 1992-06-30 | 20000  | 1990-12-31 | 828.40       | 2
CFR I.A.4         | pays    | actual_actual | 7.875  | 2      | 1990-12-03 | 1991-08-15 | 1996-02-15 | 1000   | 1991-08-15 | 55.2105978   | 7
CFR I.A.4         | pays    | actual_actual | 7.875  | 2      | 1990-12-03 | 1991-08-15 | 1996-02-15 | 7000   | 1991-08-15 | 386.47       | 2
CFR I.D (1)       | accrues | actual_actual | 6.75   | 2      | 2000-05-15 | 2000-11-15 | 2005-05-15 | 1000   | 2000-08-15 | 16.875       | 5
CFR I.D (1)       | accrues | actual_actual | 6.75   | 2      | 2000-05-15 | 2000-11-15 | 2005-05-15 | 150000 | 2000-08-15 | 2531.25      | 2
CFR I.D (2)       | accrues | actual_actual | 10.75  | 2      | 1985-07-02 | 1986-02-15 | 2005-08-15 | 1000   | 1985-11-04 | 36.72798     | 5
CFR I.D (2)       | accrues | actual_actual | 10.75  | 2      | 1985-07-02 | 1986-02-15 | 2005-08-15 | 11000  | 1985-11-04 | 404.01       | 2
CFR II.D          | accrues | actual_actual | 9.5    | 2      | 1985-11-15 | 1986-05-15 | 1995-11-15 | 100    | 1985-11-29 | 0.367403     | 6
CFR II.E          | accrues | actual_actual | 10.75  | 2      | 1985-07-02 | 1986-02-15 | 2005-08-15 | 100    | 1985-11-04 | 3.672798     | 6
CFR II.F          | accrues | actual_actual | 10.5   | 2      | 1983-05-16 | 1983-11-15 | 1991-05-15 | 100    | 1983-08-15 | 2.596467     | 6
CFR II.G          | accrues | actual_actual | 9.75   | 2      | 1988-10-15 | 1989-06-15 | 1994-12-15 | 100    | 1988-11-15 | 0.825820     | 6
CFR III.B         | accrues | actual_actual | 3.625  | 2      | 1998-01-15 |            | 2008-01-15 | 100    | 1998-10-15 | 0.906250     | 6
ISDA regular      | pays    | actual_actual | 100    | 2      | 2003-11-01 |            | 2005-11-01 | 100    | 2004-05-01 | 50           | 8
ISDA short first  | pays    | actual_actual | 100    | 1      | 1999-02-01 | 1999-07-01 | 2000-07-01 | 100    | 1999-07-01 | 41.0958904   | 7
ISDA short first  | pays    | actual_actual | 100    | 1      | 1999-02-01 | 1999-07-01 | 2000-07-01 | 100    | 2000-07-01 | 100          | 8
ISDA long first   | pays    | actual_actual | 100    | 2      | 2002-08-15 | 2003-07-15 | 2004-01-15 | 100    | 2003-07-15 | 91.5760870   | 7
ISDA long first   | pays    | actual_actual | 100    | 2      | 2002-08-15 | 2003-07-15 | 2004-01-15 | 100    | 2004-01-15 | 50           | 8
TI BA II Plus     | accrues | 30_360        | 7      | 2      |            |            | 2007-12-31 | 100    | 2006-06-12 | 3.15         | 2
TI BA II Plus     | accrues | 30_360        | 7      | 2      |            |            | 1997-12-31 | 100    | 1996-06-12 | 3.15         | 2
TI solution 11218 | accrues | actual_actual | 8.5    | 1      |            |            | 2003-10-31 | 100    | 2002-04-01 | 3.54         | 2
HP 12C, section 4 | accrues | actual_actual | 6.75   | 2      |            |            | 2018-06-04 | 100    | 2004-04-28 | 2.69         | 2
HP 12C, section 16| accrues | 30_360        | 5.5    | 2      |            |            | 2008-06-01 | 100    | 2004-08-28 | 1.33         | 2
Adams and Smith   | accrues | 30_360        | 4.375  | 2      |            |            | 2024-11-15 | 100    | 2019-06-27 | 0.510417     | 6
"""  # noqa: E501  (a table)

YIELDS = """
# TI: BA II Plus guidebook and solution 11218. HP: 12C Platinum user's guide, sections 4 and 16, and the
# learning module HP 12C Bonds, examples 2 and 3.
source      | convention    | coupon | a year | issue | first | maturity   | on         | price     | yield | to
TI          | 30_360        | 7      | 2      |       |       | 2007-12-31 | 2006-06-12 | 98.56     | 8     | 2
TI 11218    | actual_actual | 8.5    | 1      |       |       | 2003-10-31 | 2002-04-01 | 98.15     | 9.75  | 2
HP 4        | actual_actual | 6.75   | 2      |       |       | 2018-06-04 | 2004-04-28 | 120.38    | 4.75  | 2
HP 16       | 30_360        | 5.5    | 2      |       |       | 2008-06-01 | 2004-08-28 | 102.55    | 4.75  | 2
HP Bonds 2  | actual_actual | 6.75   | 2      |       |       | 2018-05-01 | 2003-08-10 | 88.25     | 8.13  | 2
HP Bonds 3  | actual_actual | 0      | 2      |       |       | 2017-06-30 | 2003-05-19 | 14.81     | 14    | 1
CFR VI.D.1  |               |        |        |       |       | 1990-06-21 | 1990-06-01 | 99.559444 | 8.076 | 3
"""  # noqa: E501  (a table)

_PUBLISHED = rows(PUBLISHED)
_YIELDS = rows(YIELDS)


@pytest.mark.parametrize("row", rows(DAYS), ids=lambda row: f"{row['start']} {row['end']}")
def test_days_of_30_360_are_as_published(row: dict[str, str]) -> None:
    start, end = date.fromisoformat(row["start"]), date.fromisoformat(row["end"])
    assert days_between("30_360", start, end) == int(row["days"])


@pytest.mark.parametrize("row", _PUBLISHED, ids=lambda row: f"{row['source']} {row['on']} {row['par']}")
def test_interest_is_as_published(row: dict[str, str]) -> None:
    worked_out = {"pays": coupon_amount, "accrues": accrued_interest}[row["what"]]
    ours = worked_out(terms_of(row), date.fromisoformat(row["on"]))
    assert round_half_up(ours, row["to"]) == Decimal(row["amount"])


@pytest.mark.parametrize("row", _YIELDS, ids=lambda row: row["source"])
def test_yields_are_as_published(row: dict[str, str]) -> None:
    ours = yield_to_maturity(terms_of(row), date.fromisoformat(row["on"]), Decimal(row["price"]))
    assert ours is not None
    assert round_half_up(ours, row["to"]) == Decimal(row["yield"])


# --- our own --------------------------------------------------------------------------------------

ACCRUED = """
# Per unit of 100, unless `par` says another.
convention       | coupon | a year | ex | issue      | first      | maturity   | par     | on         | accrued     | because
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2026-06-07 | 1.91208791  | 174 of 182 days
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2026-06-08 | -0.07692308 | the ex date: 7 of 182 days to go
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2026-06-14 | -0.01098901 | the last day
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2026-06-15 | 0.00000000  | the coupon date
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2026-06-16 | 0.01092896  | and the day after: 1 of 183
actual_actual    | 4      | 2      | 0  |            |            | 2030-06-15 |         | 2026-06-14 | 1.98901099  | no ex days
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2030-06-10 | -0.05494505 | the last coupon goes ex too
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2030-06-15 | 0.00000000  | maturity
actual_actual    | 4      | 2      | 7  |            |            | 2030-06-15 |         | 2031-01-01 | 0.00000000  | long after it
actual_actual    | 4      | 2      | 7  | 2026-06-10 |            | 2030-06-15 |         | 2026-06-12 | -0.03296703 | issued ex its short first coupon
actual_actual    | 4      | 2      | 0  | 2026-03-12 |            | 2030-06-15 |         | 2026-03-12 | 0.00000000  | the issue date
actual_actual    | 4      | 2      | 0  | 2026-03-12 |            | 2030-06-15 |         | 2026-03-01 | 0.00000000  | before it
actual_actual    | 4      | 2      | 0  | 2026-03-12 |            | 2030-06-15 |         | 2026-03-13 | 0.01098901  | 1 of 182 days
actual_actual    | 4      | 2      | 0  | 2026-03-12 | 2026-12-15 | 2030-06-15 |         | 2026-06-20 | 1.09860085  | long first: 95 of 182 days and 5 of 183
actual_actual    | 4      | 1      | 0  | 2026-02-24 | 2026-05-30 | 2026-05-30 |         | 2026-05-20 | 0.93150685  | a single coupon: 85 of 365 days
actual_actual    | 9.625  | 6      | 0  | 2039-01-18 | 2039-04-29 | 2044-08-29 |         | 2039-02-28 | 1.07821038  | 41 of 61 days: 29 December to the 28th
actual_actual    | 4      | 2      | 0  |            |            | 2027-02-28 |         | 2026-08-31 | 0.00000000  | month ends: a coupon on 31 August
actual_actual    | 4      | 2      | 0  |            | 2024-08-28 | 2027-02-28 |         | 2026-08-28 | 0.00000000  | on the 28th, as the first coupon was
actual_actual    | 4      | 2      | 0  |            | 2024-08-30 | 2027-02-28 |         | 2026-08-30 | 0.00000000  | on the 30th, as the first coupon was
actual_actual    | 4      | 4      | 0  |            |            | 2028-02-29 |         | 2027-02-28 | 0.00000000  | month ends in a common year
30_360           | 5      | 2      | 0  |            |            | 2027-02-28 |         | 2026-03-31 | 0.41666667  | month ends: 30 days from 28 February
30_360           | 5      | 2      | 0  |            | 2024-08-28 | 2027-02-28 |         | 2026-03-31 | 0.45833333  | not at month ends: 33 days
30_360           | 5      | 1      | 0  | 2026-02-28 | 2028-02-29 | 2032-02-29 |         | 2027-02-28 | 5.00000000  | month ends: a year from 28 February to the next
30_360           | 5      | 2      | 0  |            |            | 2030-07-31 |         | 2026-07-30 | 2.50000000  | 180 days on the 30th
30_360           | 5      | 2      | 9  |            |            | 2030-07-31 |         | 2026-07-30 | 0.00000000  | ex, and no day from the 30th to the 31st
30_360           | 5      | 2      | 9  |            |            | 2030-07-15 |         | 2026-07-06 | -0.12500000 | ex: 9 days to go
actual_360       | 5      | 4      | 0  |            |            | 2030-06-15 |         | 2026-06-14 | 1.26388889  | 91 of 360 days
actual_365_fixed | 5      | 2      | 0  |            |            | 2030-06-15 |         | 2026-12-14 | 2.49315068  | 182 of 365 days
actual_365_fixed | 5      | 2      | 0  |            |            | 2030-12-15 |         | 2026-12-14 | 2.49315068  | and so half a year later
actual_365_fixed | 5      | 2      | 10 |            |            | 2030-06-15 |         | 2026-06-10 | -0.06849315 | ex: 5 of 365 days
actual_actual    | 4      | 2      | 0  |            |            | 2030-06-15 | 1000    | 2026-06-14 | 19.89010989 | a unit of 1000
actual_actual    | 4      | 2      | 0  |            |            | 2030-06-15 | 0.01    | 2026-06-14 | 0.00019890  | a unit of a cent
actual_365_fixed | 0.0365 | 1      | 0  |            |            | 2030-06-15 | 0.00015 | 2025-06-16 | 0.00000000  | 1.5 of 10^-10: to the even 0
actual_actual    | 0      | 2      | 0  |            |            | 2030-06-15 |         | 2026-06-14 | 0.00000000  | a coupon of 0
"""  # noqa: E501  (a table)

HALVES = """
# actual_365_fixed, 0.0365 percent, one day: par x 10^-6. Exactly a half goes to the even neighbour.
par   | on         | accrued
0.005 | 2025-06-16 | 0.00000000
0.015 | 2025-06-16 | 0.00000002
0.025 | 2025-06-16 | 0.00000002
0.005 | 2026-06-14 | 0.00000000
0.015 | 2026-06-14 | -0.00000002
"""

COUPONS = """
convention       | coupon | a year | issue      | first      | maturity   | on         | pays       | because
30_360           | 5      | 2      |            |            | 2027-02-28 | 2026-08-31 | 2.50000000 | regular, whatever its days
30_360           | 5      | 12     |            |            | 2027-02-28 | 2026-03-31 | 0.41666667 | a month
30_360           | 5      | 2      | 2026-01-10 | 2026-06-15 | 2030-06-15 | 2026-06-15 | 2.15277778 | short first: 155 of 360 days
30_360           | 5      | 2      | 2025-11-20 | 2026-06-15 | 2030-06-15 | 2026-06-15 | 2.84722222 | long first: 205 of 360 days
30_360           | 5      | 2      | 2025-12-15 | 2026-06-15 | 2030-06-15 | 2026-06-15 | 2.50000000 | a regular first period
actual_360       | 5      | 2      |            |            | 2030-06-15 | 2026-06-15 | 2.52777778 | 182 of 360 days
actual_360       | 5      | 2      |            |            | 2030-06-15 | 2026-12-15 | 2.54166667 | 183 of 360 days
actual_365_fixed | 5      | 2      |            |            | 2030-06-15 | 2026-12-15 | 2.50000000 | regular, whatever its days
actual_365_fixed | 5      | 2      | 2026-01-10 | 2026-06-15 | 2030-06-15 | 2026-06-15 | 2.13698630 | short first: 156 of 365 days
actual_actual    | 5      | 2      |            |            | 2030-06-15 | 2030-06-15 | 2.50000000 | the last one
actual_actual    | 5      | 2      |            |            | 2030-06-15 | 2026-06-14 | 0.00000000 | no coupon date
actual_actual    | 5      | 2      |            |            | 2030-06-15 | 2030-12-15 | 0.00000000 | after maturity
actual_actual    | 5      | 2      | 2026-03-12 | 2026-12-15 | 2030-06-15 | 2026-06-15 | 0.00000000 | within the long first period
actual_actual    | 5      | 2      | 2026-06-15 |            | 2030-06-15 | 2026-06-15 | 0.00000000 | the issue date
"""  # noqa: E501  (a table)

OWN_YIELDS = """
convention    | coupon | a year | ex | maturity   | on         | price | yield       | because
actual_actual | 6      | 2      | 0  | 2036-03-12 | 2026-03-12 | 100   | 6.00000000  | par on a coupon date
actual_actual | 6      | 2      | 0  | 2026-09-12 | 2026-03-12 | 100   | 6.00000000  | the last coupon period: simple
actual_actual | 0      | 2      | 0  | 2026-09-12 | 2026-03-12 | 98    | 4.08163265  | 2 / 98 for half a year
actual_actual | 6      | 1      | 0  | 2028-03-12 | 2026-03-12 | 112   | 0.00000000  | what is paid back, and no more
actual_actual | 6      | 1      | 0  | 2028-03-12 | 2026-03-12 | 120   | -3.48094165 | less than that
actual_actual | 6      | 2      | 7  | 2026-09-12 | 2026-09-06 | 99.9  | 12.15738400 | ex: the face value alone
30_360        | 6      | 2      | 0  | 2026-08-31 | 2026-08-30 | 100   |             | no day from the 30th to the 31st
actual_actual | 6      | 2      | 0  | 2026-09-12 | 2026-09-12 | 100   |             | nothing is to come
actual_actual | 6      | 2      | 0  | 2036-03-12 | 2026-03-12 | 0     |             | no price
nonsense      | 6      | 2      | 0  | 2036-03-12 | 2026-03-12 | 100   |             | no convention
actual_actual | 6      |        | 0  | 2036-03-12 | 2026-03-12 | 100   |             | no schedule
actual_360    |        |        | 0  | 2026-06-10 | 2026-03-12 | 98.75 | 5.06329114  | a bill: 1.25 / 98.75 x 360 / 90
actual_365_fixed |   |        | 0  | 2026-06-10 | 2026-03-12 | 98.75 | 5.13361463  | a bill: 1.25 / 98.75 x 365 / 90
              |        |        | 0  | 2028-06-10 | 2028-02-29 | 98.75 | 4.54206999  | 29 February to 1 March is 366 days
              |        |        | 0  | 2019-08-28 | 2019-02-28 | 98.75 | 2.55262606  | 365 days to 28 February 2020
              |        |        | 0  | 2019-08-28 | 2019-03-01 | 98.75 | 2.57383966  | 366 days to 1 March 2020
              |        |        | 0  | 2026-06-10 | 2026-03-12 | 0     |             | a bill without a price
              |        |        | 0  |            | 2026-03-12 | 98.75 |             | without maturity
nonsense      |        |        | 0  | 2026-06-10 | 2026-03-12 | 98.75 |             | a bill of an unknown convention
30_360        |        |        | 0  | 2026-08-31 | 2026-08-30 | 98.75 |             | a bill with no day to wait
              | 0      |        | 0  | 2026-06-10 | 2026-03-12 | 98.75 | 5.13361463  | a coupon of 0 and no frequency
"""  # noqa: E501  (a table)

FAULTS = """
convention    | coupon | a year | ex | issue      | first      | maturity   | field                | detail
actual_actual |        | 2      |    |            |            | 2030-06-15 | coupon               | must be given, in percent a year
actual_actual | -1     | 2      |    |            |            | 2030-06-15 | coupon               | must be given, in percent a year
30E_360       | 5      | 2      |    |            |            | 2030-06-15 | day_count_convention | must be one of 30_360, actual_360, actual_365_fixed, actual_actual
              | 5      | 2      |    |            |            | 2030-06-15 | day_count_convention | must be one of 30_360, actual_360, actual_365_fixed, actual_actual
actual_actual | 5      |        |    |            |            | 2030-06-15 | coupon_frequency     | must be one of 1, 2, 3, 4, 6, 12 a year
actual_actual | 5      | 5      |    |            |            | 2030-06-15 | coupon_frequency     | must be one of 1, 2, 3, 4, 6, 12 a year
actual_actual | 5      | 2      |    |            |            |            | maturity_date        | must be given for an instrument with a coupon
actual_actual | 5      | 2      |    | 2030-06-15 |            | 2030-06-15 | maturity_date        | must be after `issue_date`
actual_actual | 5      | 2      |    |            | 2030-12-15 | 2030-06-15 | first_coupon_date    | must not be after `maturity_date`
actual_actual | 5      | 2      |    | 2026-06-15 | 2026-06-15 | 2030-06-15 | first_coupon_date    | must be after `issue_date`
actual_actual | 5      | 2      |    |            | 2026-06-14 | 2030-06-15 | first_coupon_date    | is no whole number of 6 months before maturity
actual_actual | 5      | 2      |    |            | 2026-06-16 | 2030-06-15 | first_coupon_date    | is no whole number of 6 months before maturity
actual_actual | 5      | 2      |    |            | 2026-09-15 | 2030-06-15 | first_coupon_date    | is no whole number of 6 months before maturity
actual_actual | 5      | 2      |    |            | 2026-06-29 | 2030-12-31 | first_coupon_date    | is no whole number of 6 months before maturity
actual_actual | 5      | 2      | -1 |            |            | 2030-06-15 | ex_coupon_days       | must be 0 to 167, less than from one coupon to the next
actual_actual | 5      | 12     | 28 |            |            | 2030-06-15 | ex_coupon_days       | must be 0 to 27, less than from one coupon to the next
actual_actual | 5      | 2      |    |            |            | 9999-12-31 | maturity_date        | must be in the years 1800 to 2999
actual_actual | 5      | 2      |    | 0001-01-01 |            | 2030-06-15 | issue_date           | must be in the years 1800 to 2999
actual_actual | 5      | 2      |    |            |            | 2999-12-31 |                      |
              |        |        |    |            |            | 2030-06-15 |                      |
              |        |        |    |            |            |            |                      |
              | 0      |        |    |            |            | 2030-06-15 |                      |
actual_360    |        |        |    |            |            | 2030-06-15 |                      |
nonsense      |        |        |    |            |            | 2030-06-15 | day_count_convention | must be one of 30_360, actual_360, actual_365_fixed, actual_actual
              |        |        |    | 2030-06-15 |            | 2030-06-15 | maturity_date        | must be after `issue_date`
"""  # noqa: E501  (a table)


def _named(row: dict[str, str]) -> str:
    return " ".join(row.get(name, "") for name in ("convention", "on", "because"))


@pytest.mark.parametrize("row", rows(ACCRUED), ids=_named)
def test_accrued_interest(row: dict[str, str]) -> None:
    assert plain(accrued_interest(terms_of(row), date.fromisoformat(row["on"]))) == row["accrued"]


@pytest.mark.parametrize("row", rows(HALVES), ids=lambda row: f"{row['par']} {row['on']}")
def test_a_half_goes_to_the_even_neighbour(row: dict[str, str]) -> None:
    terms = BondTerms(
        Decimal("0.0365"), date(2030, 6, 15), 1, None, None, "actual_365_fixed", Decimal(row["par"]), 1
    )
    assert plain(accrued_interest(terms, date.fromisoformat(row["on"]))) == row["accrued"]


def test_arithmetic_is_independent_of_a_threads_own() -> None:
    terms = BondTerms(Decimal("4.125"), date(2036, 5, 15), 2, day_count_convention="actual_actual")
    day, price = date(2026, 3, 12), Decimal("98.515625")
    usual = accrued_interest(terms, day), yield_to_maturity(terms, day, price)
    with localcontext() as narrow:
        narrow.prec = 3
        assert (accrued_interest(terms, day), yield_to_maturity(terms, day, price)) == usual


def test_no_digit_is_lost_below_zero_either() -> None:
    par = Decimal("12345678901234567890123456.7891")
    terms = BondTerms(
        Decimal("3.65"), date(2030, 6, 15), 1, None, None, "actual_365_fixed", par, ex_coupon_days=1
    )
    assert plain(accrued_interest(terms, date(2026, 6, 14))) == "-1234567890123456789012.34567891"


@pytest.mark.parametrize("row", rows(COUPONS), ids=_named)
def test_coupons(row: dict[str, str]) -> None:
    assert plain(coupon_amount(terms_of(row), date.fromisoformat(row["on"]))) == row["pays"]


HELD = """
# What a monthly coupon of 5 percent, 0.41666667 a unit of 100 as it is shown, pays a holder.
units        | step  | pays
1            | 0.01  | 0.41
2            | 0.01  | 0.83
3            | 0.01  | 1.25
1000000      | 0.01  | 416666.66
0.01         | 0.01  | 0.00
0            | 0.01  | 0.00
7            | 1     | 2
7            | 0.001 | 2.916
123456789.12 | 0.01  | 51440328.80
"""


@pytest.mark.parametrize("row", rows(HELD), ids=lambda row: f"{row['units']} {row['step']}")
def test_what_a_holder_is_paid_is_rounded_down_once(row: dict[str, str]) -> None:
    terms = BondTerms(Decimal(5), date(2027, 2, 28), 12, day_count_convention="30_360")
    units, step = Decimal(row["units"]), Decimal(row["step"])
    assert plain(coupon_for(terms, date(2026, 3, 31), units, step)) == row["pays"]
    assert coupon_for(terms, date(2026, 3, 30), units, step) == 0


@pytest.mark.parametrize("row", rows(OWN_YIELDS), ids=_named)
def test_yields(row: dict[str, str]) -> None:
    ours = yield_to_maturity(terms_of(row), date.fromisoformat(row["on"]), Decimal(row["price"]))
    assert ("" if ours is None else plain(ours)) == row["yield"]


@pytest.mark.parametrize("row", rows(FAULTS), ids=lambda row: " ".join(row.values()))
def test_terms_without_a_schedule_have_no_interest_and_a_reason(row: dict[str, str]) -> None:
    terms = terms_of(row)
    fault = fault_of(terms)
    assert (fault or ("", "")) == (row["field"], row["detail"])
    if fault:
        assert accrued_interest(terms, date(2028, 3, 12)) == 0
        assert coupon_amount(terms, date(2028, 6, 15)) == 0


def round_half_up(number: Decimal, places: str) -> Decimal:
    return number.quantize(Decimal(1).scaleb(-int(places)), ROUND_HALF_UP)

"""JSON values for each kind of field that a schema must tell apart just as the reader does."""

from __future__ import annotations

from api.http.kinds import (
    Amount,
    Boolean,
    Currency,
    Day,
    Field,
    Group,
    Id,
    Integer,
    Kind,
    Several,
    Span,
    Text,
    Time,
    TimeOfDay,
    Word,
)

SAMPLES: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "Text": (
        Text(3),
        ('""', '" "', '"a"', '" a"', '"abcd"', '"\\u00a0"', '"\\u3000x"', '"\\ufeff"', '"\\n"', "1",
         "null", '"\\ud83d\\ude00\\ud83d\\ude00\\ud83d\\ude00"', '"\\u001c"', '"\\u0085"', '"\\u200b"'),
    ),
    "Word": (Word(("buy", "sell")), ('"buy"', '"BUY"', '""', '"buy\\n"', "true")),
    "Currency": (Currency(), ('"USD"', '"usd"', '"XXX"', '"USDT"')),
    "Boolean": (Boolean(), ("true", "false", "0", '"true"')),
    "Integer": (Integer(1, 500), ("0", "1", "500", "501", "-1", "6.0", "6.5", "6.00", '"1"', "true")),
    "Amount": (
        Amount(2),
        ('"1"', '"1.00"', '"1.001"', '"01"', '"-1"', '"+1"', '".5"', '"1."', '"1e3"', '"\\u0661"',
         '"1\\n"', '" 1"', '"0"', '"123456789012345"', '"1234567890123456"', '""', "true"),
    ),
    "Day": (Day(), ('"2026-03-12"', '"2026-02-30"', '"2026-3-12"', '"20260312"', '"2024-02-29"')),
    "Time": (
        Time(),
        ('"2026-03-12T14:30:00Z"', '"2026-03-12t14:30:00z"', '"2026-03-12 14:30:00Z"',
         '"2026-03-12T14:30:00"', '"2026-03-12T14:30:00.1234567Z"', '"2026-03-12T14:30:00.5+02:00"',
         '"2026-03-12T25:00:00Z"', '"2026-02-30T00:00:00Z"'),
    ),
    "TimeOfDay": (
        TimeOfDay(),
        ('"09:30"', '"24:00"', '"00:00"', '"23:59"', '"24:01"', '"9:30"', '"09:60"', '"09:30:00"',
         '"09:30\\n"', '"\\u0660\\u0669:30"', '""', "930", "true"),
    ),
    "Group": (
        Group((Field("a", Integer(1, 2), is_needed=True), Field("b", Text(3), is_needed=True))),
        ("{}", '{"a": 1, "b": "x"}', '{"a": 3, "b": "x"}', '{"a": 1}', '{"a": null, "b": "x"}',
         '{"a": 1, "b": "x", "c": 1}', "[]", '"a"', "1"),
    ),
    "Pairs": (
        Several(Several(TimeOfDay(), most=2, least=2), most=2, least=1),
        ("[]", '[["09:30", "16:00"]]', '[["09:30"]]', '["09:30", "16:00"]', '[["a", "b"]]'),
    ),
    "Span": (
        Span(),
        ('"P1D"', '"PT1H30M"', '"P"', '"PT"',
         '"P1DT"', '"-P1D"', '"P1Y"', '"PT1S"', '"P1000D"', '"P0D"', '"PT0H5M"'),
    ),
    "Id": (Id("ins"), ('"ins_1"', '"x"', "1", f'"{"a" * 200}"', f'"{"a" * 201}"')),
    "Several": (Several(Word(("a",))), ("[]", '["a"]', '["b"]', '"a"', f'[{",".join(["1"] * 51)}]')),
}  # fmt: skip
"""Kind -> values as they stand in JSON."""

"""``--created-since``: dates, RFC 3339 times, and ages."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from usermgr.errors import InvalidInput
from usermgr.formats.whens import parse_when

NOW = datetime(2026, 3, 1, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        (" 2026-01-31 ", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T10:00:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31T10:00:00Z", datetime(2026, 1, 31, 10, tzinfo=UTC)),
        ("2026-01-31 10:00:00.250000Z", datetime(2026, 1, 31, 10, 0, 0, 250_000, tzinfo=UTC)),
        ("2026-01-31T10:00:00-03:00", datetime(2026, 1, 31, 13, tzinfo=UTC)),
        ("7d", NOW - timedelta(days=7)),
        ("12h", NOW - timedelta(hours=12)),
        ("90m", NOW - timedelta(minutes=90)),
        ("2w", NOW - timedelta(weeks=2)),
        ("0d", NOW),
    ],
)
def test_a_time_is_an_instant_in_utc(text: str, instant: datetime):
    parsed = parse_when(text, now=NOW)

    assert parsed == instant
    assert parsed.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "yesterday",
        "7",
        "7y",
        "-7d",
        "2026-02-30",
        "2026-13-01",
        "0001-01-01T00:00+14:00",
    ],
)
def test_anything_else_is_refused(text: str):
    with pytest.raises(InvalidInput) as refused:
        parse_when(text, now=NOW)

    assert refused.value.message == f'"{text}" is not a time'

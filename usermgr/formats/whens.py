"""Times as people write them: dates, RFC 3339, and spans from now."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

from usermgr.errors import InvalidInput
from usermgr.names import visible

_AGE = r"([0-9]{1,5})([mhdw])"
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}


def parse_until(text: str, *, now: datetime | None = None) -> datetime | None:
    """An instant to come, in the spellings of ``parse_when`` (an age is counted from now on), or
    None for "never". Raises InvalidInput for others, and for the past.
    """
    if text.strip().lower() == "never":
        return None
    now = now or datetime.now(UTC)
    read = parse_when(text, now=now)
    if re.fullmatch(_AGE, text.strip()):
        read = now + (now - read)
    if read <= now:
        raise InvalidInput(
            f'"{visible(text)}" is not in the future',
            hint="write a date such as 2027-01-31, a span such as 30d, or never",
        )
    return read


def parse_when(text: str, *, now: datetime | None = None) -> datetime:
    """An instant: a date (its beginning in UTC), an RFC 3339 time, or a span such as 7d or 12h.

    Raises InvalidInput; a time without an offset is read as UTC.
    """
    age = re.fullmatch(_AGE, text.strip())
    try:
        if age:
            span = timedelta(**{_UNITS[age[2]]: int(age[1])})
            return (now or datetime.now(UTC)) - span
        parsed = datetime.fromisoformat(text.strip())
        return (parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(
            f'"{visible(text)}" is not a time',
            hint="write a date such as 2026-01-31, an RFC 3339 time, or a span: 30m, 12h, 7d or 2w",
        ) from error

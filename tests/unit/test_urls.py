"""Database URLs that could be read in two ways are refused, and no message tells a password."""

from __future__ import annotations

import pytest

from tests.support.commands import run_inside
from usermgr.errors import InvalidInput
from usermgr.urls import describe_database, mask_url, normalise_database_url

TWO_WAYS = "percent-encode special characters in user, password and options"


@pytest.mark.parametrize(
    ("url", "hint"),
    [
        ("postgresql://u:12/sEcReT@h/d", TWO_WAYS),
        ("postgresql://u:12?sEcReT@h/d", TWO_WAYS),
        ("postgresql://u:x@sEcReT@h/d", TWO_WAYS),
        ("postgresql://h:5432/d?user=sEcReT@h", TWO_WAYS),
        ("postgresql://u:ab/sEcReT@h/d", "write postgresql://user@host:port/database"),
        ("postgresql://u:sEcReT@[h/d", "write postgresql://user@host:port/database"),
        ("postgresql://u:sEc\nReT@h/d", "write it on one line"),
        ("postgresql://u:sEcReT@h/d\n", "write it on one line"),
        ("host=h password=sEcReT", "write postgresql://user@host:port/database"),
        ("u:sEcReT@h/d", "write postgresql://user@host:port/database"),
        ("postgresql:u:sEcReT@h", "write postgresql://user@host:port/database"),
        ("jdbc:postgresql://h/d?user=u&password=sEcReT", "write postgresql://"),
        ("mongodb://u:sEcReT@h/d", "write postgresql://user@host:port/database"),
    ],
)
def test_a_refused_url_tells_nothing_of_its_password(url: str, hint: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        normalise_database_url(url, source="environment X")

    told = f"{raised.value.message}\n{raised.value.hint}"
    assert (raised.value.hint or "").startswith(hint)
    for part in ("sEc", "ReT"):
        assert part not in told


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:p%40%2F%3F%23%25x@h/d",
        "postgresql://u:p@h:5433/d?sslmode=require",
        "postgresql://u:p:q@h/d",
        "postgresql:///d?host=/run/pg&user=u@h",
        "postgresql://h/d?user=u@h&password=p",
        "postgresql://u@[::1]:5432/d",
    ],
)
def test_a_url_that_all_read_alike_is_accepted_and_shown_without_password(url: str) -> None:
    normal = normalise_database_url(url)

    assert normal == url.replace("postgresql://", "postgresql+psycopg2://")
    assert "p%40" not in mask_url(normal) + describe_database(normal)
    for secret in (":p@", ":p:q@", "password=p"):
        assert secret not in mask_url(normal)


@pytest.mark.parametrize(
    ("url", "masked"),
    [
        ("postgresql://u:a%40b@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:a/b@h/d", "postgresql://u:***@h/d"),
        ("postgresql://:p@h/d", "postgresql://:***@h/d"),
        ("postgresql://u:***@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:p@h/d?PASSWORD=q", "postgresql://u:***@h/d?PASSWORD=***"),
        ("postgresql:///d?sslpassword=q&x=1", "postgresql:///d?sslpassword=***&x=1"),
        ("postgresql://h:5432/d", "postgresql://h:5432/d"),
    ],
)
def test_masking(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert mask_url(masked) == masked


def test_a_connection_option_that_does_not_exist_is_told_without_a_trace() -> None:
    env = {"USERMGR_DATABASE_URL": "postgresql://u:sEcReT@127.0.0.1:1/d?colour=red"}

    done = run_inside(("user", "list"), "", env)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: the database URL has an option that is not understood: "
        "invalid connection option 'colour'\n"
        "hint: the options are libpq's connection parameters, such as sslmode\n"
    )

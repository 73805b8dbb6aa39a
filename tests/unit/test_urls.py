"""Database URLs that could be read in two ways are refused, and no message tells a password."""

from __future__ import annotations

import pytest

from tests.support.commands import Result, run_inside
from usermgr.errors import InvalidInput
from usermgr.urls import describe_database, mask_url, normalise_database_url, url_has_password

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
        ("mongodb://sEcReT", "write postgresql://user@host:port/database"),
        ("sEcReT://h/d", "write postgresql://user@host:port/database"),
        ("sEcReT", "write postgresql://user@host:port/database"),
        ("sEc.ReT/x-1", "write postgresql://user@host:port/database"),
        ("postgresql://u:sEcReT", "write postgresql://user@host:port/database"),
        ("postgresql://u:sEc/ReT", "write postgresql://user@host:port/database"),
        ("postgresql://u:sEc?ReT", "write postgresql://user@host:port/database"),
        ("postgresql://[::1]:sEcReT/d", "write postgresql://user@host:port/database"),
        ("postgresql://h:x/d?%70assword=sEcReT", "write postgresql://user@host:port/database"),
        ("postgresql://u:sEcReT%00@h/d", "write it on one line"),
        ("postgresql://h/d?user=u&pass%77ord=sEcReT%00", "write it on one line"),
        ("postgresql://h:5432/d?user=u@c&password=sEcReT", TWO_WAYS),
        ("postgresql://h:5432/d?x=1;user=u@c&password=sEcReT", TWO_WAYS),
        ("sqlite://u:sEcReT@h/d", "write sqlite:///relative/file.db"),
        ("sqlite:///a.db?key=sEcReT", "write sqlite:///relative/file.db"),
        ("sqlite:///a\0b.db", "write sqlite:///relative/file.db"),
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
        ("postgresql://h:5432", "postgresql://h:5432"),
        ("postgresql://h:/d", "postgresql://h:/d"),
        ("postgresql://[::1]:5432/d", "postgresql://[::1]:5432/d"),
        ("postgresql://u:p", "postgresql://u:***"),
        ("postgresql://u:p/d?x=1", "postgresql://u:***"),
        ("postgresql://h/d?%70assword=q&x=1", "postgresql://h/d?%70assword=***&x=1"),
        ("postgresql://h/d?pass%77ord=q", "postgresql://h/d?pass%77ord=***"),
        ("postgresql://h/d?pgpassword=q%26r;s", "postgresql://h/d?pgpassword=***"),
        ("postgresql://h/d?user=u%20password=q", "postgresql://h/d?user=***"),
        ("postgresql://h/d?x=1;password=q", "postgresql://h/d?x=***"),
        ("postgresql://h/d?oauth_client_secret=q", "postgresql://h/d?oauth_client_secret=***"),
        (
            "postgresql://u:p@h:5432/d?user=u@corp&sslpassword=q",
            "postgresql://u:***@h:5432/d?user=u@corp&sslpassword=***",
        ),
        (
            "postgresql://u:p@h/d?x=%20password=q&user=a@b",
            "postgresql://u:***@h/d?x=***&user=a@b",
        ),
        ("postgresql://h:5432/d?user=u@c&password=q", "postgresql://h:***@c&password=***"),
        ("postgresql://h/d;password=q", "postgresql://h/d;password=***"),
        ("postgresql://h/d&password=q", "postgresql://h/d&password=***"),
        ("postgresql://h/d&%70assword=q?x=1", "postgresql://h/d&%70assword=***"),
        ("postgresql://u:pass=1@h/d?x=1", "postgresql://u:***@h/d?x=1"),
    ],
)
def test_masking(url: str, masked: str) -> None:
    assert mask_url(url) == masked
    assert mask_url(masked) == masked
    assert url_has_password(url) == (url != masked)


def test_a_connection_option_that_does_not_exist_is_told_without_a_trace() -> None:
    env = {"USERMGR_DATABASE_URL": "postgresql://u:sEcReT@127.0.0.1:1/d?colour=red"}

    done = run_inside(("user", "list"), "", env)

    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr == (
        "error: the database URL has an option that is not understood: "
        "invalid connection option 'colour'\n"
        "hint: the options are libpq's connection parameters, such as sslmode\n"
    )


@pytest.mark.parametrize(
    "options",
    ["port=abc", "host=a&port=1&port=2", "host=a,b&port=1", "host=a&host=b&port=1&port=2"],
)
def test_ports_that_do_not_fit_are_refused(options: str) -> None:
    env = {"USERMGR_DATABASE_URL": f"postgresql://u:sEcReT@/d?{options}"}

    assert run_inside(("user", "list"), "", env) == Result(
        2,
        "",
        "error: the hosts and ports that the database URL gives as options do not fit together\n"
        "hint: a port is a number; write ?host=a,b&port=1,2 for several hosts\n",
    )


@pytest.mark.parametrize(
    ("url", "libpq", "description"),
    [
        ("postgresql://", {}, "postgresql://local socket/"),
        ("postgresql://", {"host": "h", "port": "5433", "dbname": "d"}, "postgresql://h:5433/d"),
        ("postgresql://a:1/b", {"host": "h", "port": "2", "dbname": "d"}, "postgresql://a:1/b"),
        ("postgresql://a:1/b?host=h&port=2&dbname=d", {}, "postgresql://h:2/d"),
        ("postgresql://h/a%0Ab", {}, "postgresql://h/a\\nb"),
    ],
)
def test_the_description_names_what_is_connected_to(
    url: str, libpq: dict[str, str], description: str
) -> None:
    assert describe_database(url, libpq) == description

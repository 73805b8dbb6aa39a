"""Rows: a column that is checked as a whole says of each value what one user alone would hear."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.databases import open_database
from usermgr.db.engine import Operation
from usermgr.errors import InvalidInput
from usermgr.formats.readers import Chunk
from usermgr.formats.whens import parse_when
from usermgr.names import visible
from usermgr.records import NewUser, User
from usermgr.services import roles, users
from usermgr.services.rows import FIELDS, FORMULA_STARTS, RowRules, Rows, prepare, unescape_formula

RULES = RowRules(password_min_length=8)
HASH = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHRzb21lc2E$" + "A" * 43

on_one_database = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

PLAIN_NAMES = st.text("abcDE é", min_size=1, max_size=9).map(str.strip).filter(bool)
NAMES = (
    PLAIN_NAMES
    | st.text(st.characters(), max_size=12)
    | st.text(" \t\u00a0\u3000\u200b\u0301\u0130\u1e9beá\x00\x85\ud800", max_size=6)
    | st.builds(
        lambda character, number, end: character * number + end,
        *(
            st.sampled_from("xé😀\u0301"),
            st.integers(197, 203),
            st.sampled_from(["", " ", "\u0301"]),
        ),
    )
)
PLAIN_EMAILS = st.from_regex(r"[a-zA-Z0-9+'-]{1,9}@([a-z0-9]{1,9}\.){1,2}(com|Org)", fullmatch=True)
EMAILS = (
    PLAIN_EMAILS
    | st.text(st.characters(), max_size=12)
    | st.text(" \t\u00a0@.aK\u212aİßéſ\n\x00\ud800", max_size=8)
    | st.builds(
        lambda start, local, domain, end: f"{start}{local}@{domain}{end}",
        st.sampled_from(["", " ", "\n", "\u3000"]),
        st.text("abzAZ09!#$%&'*+/=?^_`{|}~-..\"() @éİK\u0301", max_size=66),
        st.text("abzAZ09--..xn_éß", max_size=66) | st.just("example.com"),
        st.sampled_from(["", " ", "\n", ".", "\x00"]),
    )
)


@pytest.fixture
def op(migrated_sqlite_url: str) -> Iterator[Operation]:
    """An operation on a database with one role."""
    database = open_database(migrated_sqlite_url)
    with database.operation("test", "tester", dry_run=True) as op:
        roles.create_role(op, "member")
        yield op
    database.engine.dispose()


class _Undo(Exception):
    pass


def create(op: Operation, new: NewUser) -> User | str:
    """The user that ``user create`` would store, or what it would say."""
    created = None
    try:
        with op.savepoint():
            created = users.create_user(op, new)
            raise _Undo
    except _Undo:
        assert created is not None
        return created
    except InvalidInput as error:
        return f"{error.message} ({error.hint})"


def _row(columns: Mapping[str, Sequence[Any]], position: int) -> dict[str, list[Any]]:
    return {name: [cells[position]] for name, cells in columns.items()}


def prepared(columns: Mapping[str, Sequence[Any]], rules: RowRules = RULES) -> Rows:
    """The rows of one chunk with these columns, numbered from 0."""
    number = len(next(iter(columns.values())))
    (rows,) = prepare([Chunk(range(number), range(number), columns)], rules)
    return rows


def verdicts(rows: Rows, column: str) -> dict[int, Any]:
    """By row: what is to be stored, or the reason why not."""
    stored = zip(rows.lines, getattr(rows, column), strict=True)
    return {**dict(stored), **{problem.line: problem for problem in rows.problems}}


@on_one_database
@given(st.lists(PLAIN_NAMES, min_size=1) | st.lists(NAMES, min_size=1, max_size=6))
def test_names(op: Operation, names: list[str]) -> None:
    number = len(names)
    emails = [f"p{position}@example.com" for position in range(number)]
    rows = prepared({"name": names, "email": emails, "role": ["member"] * number})
    for position, found in verdicts(rows, "names").items():
        name = names[position]
        alone = create(op, NewUser(name, "p@example.com", "member"))
        if isinstance(alone, User):
            assert found == alone.name
        elif name.strip():
            assert (found.code, found.reason) == ("invalid_name", alone)
        else:
            assert (found.code, found.reason) == ("missing_name", "the name is missing")


@on_one_database
@given(st.lists(PLAIN_EMAILS, min_size=1) | st.lists(EMAILS, min_size=1, max_size=6))
def test_emails(op: Operation, emails: list[str]) -> None:
    number = len(emails)
    rows = prepared({"email": emails, "name": ["A"] * number, "role": ["member"] * number})
    for position, found in verdicts(rows, "emails").items():
        email = emails[position]
        alone = create(op, NewUser("A", email, "member"))
        if isinstance(alone, User):
            assert found == alone.email
        else:
            missing = "the e-mail is missing"
            assert found.code == "invalid_email"
            assert found.reason == (alone if email.strip() else missing)


YES = ["true", "t", "yes", "y", "1"]
NO = ["false", "f", "no", "n", "0"]
WORDS = st.sampled_from([*YES, *NO, "", " ", "\t", "on", "tru", "10", "0.0"])


@given(
    st.lists(
        (WORDS | st.text(max_size=4)).flatmap(
            lambda word: st.sampled_from([word, word.upper(), word.title(), f" {word}\n"])
        ),
        min_size=1,
    )
    | st.lists(
        st.none() | st.booleans() | st.integers(-1, 2) | WORDS | st.floats() | st.lists(WORDS),
        min_size=1,
    )
)
def test_booleans(values: list[Any]) -> None:
    found = verdicts(prepared({**whole_rows(len(values)), "active": values}), "active")
    for position, value in enumerate(values):
        word = value.strip().lower() if isinstance(value, str) else str(value).lower()
        if value is None or not word:
            assert found[position] is None
        elif word in YES or word in NO:
            assert found[position] is (word in YES)
        else:
            told = value.strip() if isinstance(value, str) else str(value)
            assert found[position].code == "invalid_active"
            assert found[position].reason == f'active is "{visible(told)}" (write true or false)'


OFFSETS = st.none() | st.integers(-1439, 1439).map(lambda m: timezone(timedelta(minutes=m)))
TIMES = (
    st.datetimes(timezones=OFFSETS).map(datetime.isoformat)
    | st.datetimes(timezones=st.just(UTC)).map(lambda t: t.strftime("%Y-%m-%d %H:%M:%SZ"))
    | st.dates().map(str)
    | st.sampled_from(
        ["0001-01-01T00:00+14:00", "9999-12-31T23:59:59-00:01", "2026-02-30", "", " "]
    )
)


@given(
    st.lists(TIMES, min_size=1)
    | st.lists(
        TIMES | TIMES.map(" {} ".format) | st.text("0123456789-:TZ+ ", max_size=12), min_size=1
    )
)
def test_times(values: list[str]) -> None:
    """As the option --created-since reads them, but that it knows ages as well."""
    found = verdicts(prepared({**whole_rows(len(values)), "created_at": values}), "created_at")
    for position, value in enumerate(values):
        if not value.strip():
            assert found[position] is None
            continue
        try:
            assert found[position] == parse_when(value)
        except InvalidInput:
            assert found[position].code == "invalid_created_at"
            reason = f'created_at is "{visible(value)}" (write an RFC 3339 time)'
            assert found[position].reason == reason
        else:
            assert found[position].utcoffset() == timedelta(0)


def test_a_time_is_an_instant() -> None:
    values = ["2026-01-31", "2026-01-31T10:00:00.25-03:00", None, "2026-01-31T12:00:00+05:30"]
    rows = prepared({**whole_rows(4), "created_at": values})
    assert rows.created_at == [
        datetime(2026, 1, 31, tzinfo=UTC),
        datetime(2026, 1, 31, 13, 0, 0, 250_000, tzinfo=UTC),
        None,
        datetime(2026, 1, 31, 6, 30, tzinfo=UTC),
    ]


@pytest.mark.parametrize("value", [5, True, ["2026-01-31"], {}, "now", "7d", "2026-13-01"])
def test_what_is_no_time(value: Any) -> None:
    (problem,) = prepared({**whole_rows(1), "created_at": [value]}).problems
    assert problem.reason == f'created_at is "{value}" (write an RFC 3339 time)'


def whole_rows(number: int) -> dict[str, Sequence[Any]]:
    """The columns that every row needs."""
    return {
        "email": [f"p{position}@example.com" for position in range(number)],
        "name": ["A"] * number,
        "role": ["member"] * number,
    }


ORDINARY: dict[str, st.SearchStrategy[str]] = {
    "name": PLAIN_NAMES,
    "email": PLAIN_EMAILS,
    "role": st.sampled_from(["member", "admin"]),
    "claims": st.text("ab;", max_size=6),
    "active": st.sampled_from(["true", "false", ""]),
    "password_hash": st.sampled_from(["!", HASH]),
    "password": st.just(""),
    "created_at": st.just("2026-01-31T12:00:00Z"),
}
ODD: dict[str, st.SearchStrategy[str]] = {
    "name": NAMES,
    "email": EMAILS,
    "role": st.sampled_from([" admin ", "", " "]) | st.text(max_size=3),
    "claims": st.text("ab;\\ é", max_size=6),
    "active": WORDS,
    "password_hash": st.sampled_from(["", HASH + "\n", "plain", "$2b$16$" + "a" * 53]),
    "password": st.sampled_from(["", "short"]) | st.text("ae\u0301", max_size=12),
    "created_at": TIMES,
}
ANYTHING: st.SearchStrategy[Any] = (
    st.none()
    | st.booleans()
    | st.integers(-9, 9)
    | st.floats()
    | st.lists(st.text(max_size=3) | st.integers(0, 9), max_size=3)
    | st.just({})
)


@st.composite
def chunks(draw: st.DrawFn) -> dict[str, list[Any]]:
    """Some of the columns, e-mail always; as of a table, or with what JSON can hold."""
    names = draw(st.sets(st.sampled_from(FIELDS))) | {"email", "name", "role"}
    from_json = draw(st.booleans())
    number = draw(st.integers(1, 6))

    def column(name: str) -> list[Any]:
        value: st.SearchStrategy[Any] = ORDINARY[name]
        if draw(st.booleans()):
            odd = ODD[name].map("'{}".format) if draw(st.booleans()) else ODD[name]
            value |= odd | ANYTHING if from_json else odd
        return draw(st.lists(value, min_size=number, max_size=number))

    return {name: column(name) for name in FIELDS if name in names}


ALL_RULES = st.builds(
    RowRules,
    password_min_length=st.just(8),
    may_lack=st.sets(st.sampled_from(["name", "role"])).map(frozenset),
    unescape=st.booleans(),
)


@given(chunks(), ALL_RULES)
def test_a_row_is_the_same_alone_and_among_others(
    columns: dict[str, list[Any]], rules: RowRules
) -> None:
    together = prepared(columns, rules)
    alone = Rows.joined(
        [
            rows
            for position in range(len(columns["email"]))
            for rows in prepare(
                [Chunk([position], [position], _row(columns, position))],
                rules,
            )
        ]
    )
    for column in fields(Rows):
        assert list(getattr(together, column.name)) == list(getattr(alone, column.name))


@given(chunks(), ALL_RULES)
def test_what_is_to_be_stored_is_canonical(columns: dict[str, list[Any]], rules: RowRules) -> None:
    """Read once more, it is what it is."""
    rows = prepared(columns, rules)
    assert len(rows.lines) + len(rows.problems) == len(columns["email"])
    assert not set(rows.lines) & {problem.line for problem in rows.problems}
    if not rows.lines:
        return
    again = prepared(
        {
            "name": rows.names,
            "email": rows.emails,
            "role": rows.roles,
            "claims": [None if held is None else list(held) for held in rows.claims],
            "active": rows.active,
            "created_at": [instant and instant.isoformat() for instant in rows.created_at],
            "password_hash": rows.hashes,
            "password": rows.secrets,
        },
        RowRules(password_min_length=8, may_lack=rules.may_lack),
    )
    assert again.problems == []
    for column in fields(Rows):
        if column.name not in ("numbers", "lines", "problems"):
            assert list(getattr(again, column.name)) == list(getattr(rows, column.name))


@given(st.text(st.sampled_from("=+-@\t\r'a"), max_size=4))
def test_the_guard_of_a_formula_is_taken_back(text: str) -> None:
    guarded = f"'{text}" if text.startswith(FORMULA_STARTS) else text
    assert unescape_formula(guarded) == text


def test_a_key_that_later_objects_lack_is_missing_there() -> None:
    """Whether a column is there at all is seen in the first rows, not in where chunks end."""
    rules = RowRules(password_min_length=8, mapping={"claims": "groups"})
    first = {**whole_rows(1), "groups": [["a"]]}
    later = {"name": ["B"], "role": ["member"]}
    one, two = prepare([Chunk([1], [1], first), Chunk([2], [2], later)], rules)
    assert (one.claims, one.problems) == ([("a",)], [])
    assert [tuple(p) for p in two.problems] == [
        (2, 2, "invalid_email", "the e-mail is missing", None)
    ]


@pytest.mark.parametrize(
    ("columns", "mapping", "message"),
    [
        (["name", "role"], {}, 'there is no column "email"'),
        (["email", "name"], {}, 'there is no column "role"'),
        (["email", "role"], {}, 'there is no column "name"'),
        (["email", "phone"], {}, 'unknown column "phone"'),
        (["x", "email", "y"], {}, 'unknown columns "x", "y"'),
        (["x", *map(str, range(20))], {}, 'unknown columns "x", "0", "1", "2", "3", "4", "5", "6"'),
        (["email"], {"name": "full"}, 'there is no column "full", which --map names'),
        (["name", "mail"], {"email": "mail", "name": "n"}, 'there is no column "n", which --map'),
        (["mail", "x\n"], {"email": "mail"}, 'unknown column "x\\n"'),
    ],
)
def test_columns_that_are_wrong(columns: list[str], mapping: dict[str, str], message: str) -> None:
    rules = RowRules(password_min_length=8, mapping=mapping)
    with pytest.raises(InvalidInput) as refused:
        prepared({column: ["x"] for column in columns}, rules)
    assert refused.value.message.startswith(message)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("columns", "hint"),
    [
        (["Name", "E-Mail", "role"], "did you mean name, email? pass --map name=Name --map"),
        (["name", "email", "User role"], "the fields are"),
        (["name", "email", "Rôle", "pasword"], "--map 'role=Rôle' --map password=pasword"),
        (["name", "email", "role", "Created At"], "--map 'created_at=Created At'"),
        (["name", "Name"], "the fields are"),
        (["name\temail"], "separated by tabs: pass --format tsv"),
        (["name;email"], "separated by semicolons: pass --format csv"),
        (["name,email"], "separated by commas: pass --format csv"),
        (["name|email,role"], "--delimiter '|'"),
        (["id", "name"], "--with-ids"),
    ],
)
def test_what_may_be_meant_by_columns_that_are_unknown(columns: list[str], hint: str) -> None:
    with pytest.raises(InvalidInput, match="unknown column") as refused:
        prepared({column: ["x"] for column in columns})
    assert hint in (refused.value.hint or "")


def test_a_column_that_is_passed_over_must_be_there() -> None:
    rules = RowRules(password_min_length=8, ignored=frozenset(("phone", "fax")))
    columns = {**whole_rows(1), "phone": ["1"]}
    with pytest.raises(InvalidInput, match='no column "fax", which --ignore-column names'):
        prepared(columns, rules)
    # A reject file has none of them.
    rejects = {**whole_rows(1), "line": ["2"], "reason": ["x"]}
    assert prepared(rejects, rules).problems == []


def test_values_are_told_as_they_stand_in_the_file() -> None:
    values = {"active": "VERDADEIRO", "created_at": "ONTEM", "name": "Jos\udce9"}
    for name, value in values.items():
        (problem,) = prepared({**whole_rows(1), name: [value]}).problems
        assert problem.reason.startswith(
            'the name "Jos\\xe9" has the byte 0xE9, which is no UTF-8 (name the encoding'
            if name == "name"
            else f'{name} is "{value}" ('
        )
    (problem,) = prepared({**whole_rows(1), "email": ["jos\udce9@example.com"]}).problems
    assert "has the byte 0xE9" in problem.reason

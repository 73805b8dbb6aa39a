"""seed: believable users, the same for the same seed everywhere, and only once."""

from __future__ import annotations

import hashlib
import json

import pytest

from tests.support.commands import Command, run_inside
from usermgr.services.seed_people import DOMAINS, SeedPlan, SeedSource

DIGESTS = {
    "en_US": "13f10871231f812d",
    "pt_BR": "4a7aa3069171247d",
    "ja_JP": "7e8054bc8009409f",
}


def _export(cli: Command) -> list[dict[str, object]]:
    users: list[dict[str, object]] = cli("user", "list", "--all", "-o", "json").json
    return users


@pytest.mark.parametrize("locale", DIGESTS)
def test_the_same_people_on_every_machine(locale: str) -> None:
    people = [
        (*person[:5], person.created_at.isoformat())
        for person in SeedSource(SeedPlan(users=500, seed=7, locales=(locale,))).people()
    ]
    digest = hashlib.sha256(json.dumps(people).encode()).hexdigest()[:16]
    assert digest == DIGESTS[locale]


def test_the_same_users_on_both_databases(
    migrated_sqlite_url: str, migrated_postgresql_url: str
) -> None:
    exports = []
    for url in (migrated_sqlite_url, migrated_postgresql_url):
        env = {"USERMGR_DATABASE_URL": url}
        seeded = run_inside(("seed", "--users", "300", "--seed", "3", "-o", "json"), "", env)
        assert (seeded.exit_code, seeded.json["users_created"]) == (0, 300)
        fields = "name,email,role,claims,active,has_password,created_at"
        listed = run_inside(("user", "list", "--all", "--fields", fields), "", env)
        exports.append(listed.stdout)
    assert exports[0] == exports[1]


def test_twice_adds_nothing_and_more_adds_the_rest(cli: Command) -> None:
    first = cli("seed", "--users", "50", "-o", "json").json
    assert (first["users_created"], first["roles_created"], first["claims_created"]) == (50, 4, 6)
    export = _export(cli)
    again = cli("seed", "--users", "50", "-o", "json").json
    assert again == {
        "users_created": 0,
        "users_existing": 50,
        "roles_created": 0,
        "claims_created": 0,
        "grants_created": 0,
        "operation_id": None,
    }
    assert _export(cli) == export
    more = cli("seed", "--users", "80", "-o", "json").json
    assert (more["users_created"], more["users_existing"]) == (30, 50)
    assert _export(cli)[:50] == export


def test_another_seed_adds_other_people(cli: Command) -> None:
    cli("seed", "--users", "20")
    other = cli("seed", "--users", "20", "--seed", "1", "-o", "json").json
    assert other["users_created"] == 20


def test_the_people_are_believable(cli: Command) -> None:
    cli("seed", "--users", "200", "--locale", "pt_BR", "--locale", "ja_JP")
    users = _export(cli)
    assert {str(user["email"]).partition("@")[2] for user in users} == set(DOMAINS)
    assert {user["has_password"] for user in users} == {False}
    assert 150 < sum(bool(user["active"]) for user in users) < 200
    assert len({user["name"] for user in users}) > 150
    assert {user["role"] for user in users} == {"admin", "manager", "support", "member"}


def test_roles_and_claims_can_be_chosen(cli: Command) -> None:
    cli("role", "create", "Boss")
    done = cli("seed", "--users", "30", "--roles", "boss, clerk", "--claims", "x", "-o", "json")
    assert (done.json["roles_created"], done.json["claims_created"]) == (1, 1)
    assert {user["role"] for user in _export(cli)} == {"Boss", "clerk"}
    assert {tuple(user["claims"]) for user in _export(cli)} == {(), ("x",)}  # type: ignore[arg-type]


def test_one_password_for_all_is_hashed_once_and_told(cli: Command) -> None:
    given = "correct horse battery"
    done = cli("seed", "--users", "3", "--password-stdin", "-q", stdin=given)
    assert (done.exit_code, done.stderr) == (0, "")
    more = cli("seed", "--users", "5", "--password-stdin", stdin=given)
    assert more.stderr == "note: 2 users share the password that was given\n"
    for user in ("1", "5"):
        verified = cli("user", "verify-password", user, "--password-stdin", stdin=given)
        assert verified.exit_code == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--locale", "xx_XX"), 'no locale "xx_XX"'),
        (("--roles", ""), "no role was named"),
        (("--claims", "a,A"), '"a, A" names one thing twice'),
        (("--claims", "\u00e9,e\u0301"), '"\u00e9, e\u0301" names one thing twice'),
        (("--roles", "\u00e9,E\u0301"), '"\u00e9, E\u0301" names one thing twice'),
        (("--claims", "οδοσ,ΟΔΟΣ"), '"οδοσ, ΟΔΟΣ" names one thing twice'),
        (("--roles", "42"), 'the role name "42" consists of digits only'),
        (("--users", "-1"), 'invalid value for "--users"'),
    ],
)
def test_what_is_refused(cli: Command, words: tuple[str, ...], message: str) -> None:
    done = cli("seed", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert cli("role", "list", "-o", "json").json == []


def test_ten_thousand(cli: Command) -> None:
    done = cli("seed", "--users", "10000", "-o", "json")
    assert done.json["users_created"] == 10_000
    assert len(_export(cli)) == 10_000

"""Fields: which ones there are is a contract with scripts, and so is their order."""

from __future__ import annotations

from dataclasses import fields

import pytest

from usermgr import records
from usermgr.cli.help import field_rows
from usermgr.cli.views import BRIEF, view_of
from usermgr.errors import InvalidInput
from usermgr.records import Role, User


def test_the_fields_of_every_record_are_the_promised_ones():
    assert {row.record: row.fields for row in field_rows()} == {
        "user": "id, name, email, role_id, role, claims, active, has_password, version, "
        "created_at, updated_at",
        "role": "id, description, protected, users",
        "claim": "id, description, active, protected, users",
        "operation": "id, command, actor, source, started_at, finished_at, outcome, counts, "
        "undoes, changes",
        "change": "id, operation_id, at, actor, command, entity, entity_id, name, action, "
        "changed, before, after",
        "token": "id, name, scopes, user_id, created_at, expires_at, last_used_at, revoked_at",
    }


def test_a_table_of_many_shows_fields_that_exist():
    for record_type, brief in BRIEF.items():
        assert set(brief) <= {field.name for field in fields(record_type)}


def test_no_record_that_is_shown_has_a_field_for_a_secret():
    shown = [User, *(vars(records)[name] for name in ("Role", "Claim", "Change", "Verification"))]
    names = {field.name for record_type in shown for field in fields(record_type)}

    assert {name for name in names if "password" in name} == {"has_password"}


def test_fields_are_chosen_in_the_order_given_and_once():
    chosen = view_of(User).choose(" email,id ,email,", brief=False)

    assert chosen == ("email", "id")


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("id,nope", 'unknown field "nope"'),
        ("ID", 'unknown field "ID"'),
        ("", "no field was named"),
        (" , ", "no field was named"),
        ("generated_password", 'unknown field "generated_password"'),
        ("a\x1b[1m", 'unknown field "a\\x1b[1m"'),
    ],
)
def test_a_field_that_does_not_exist_is_refused_with_those_that_do(wanted: str, message: str):
    with pytest.raises(InvalidInput) as refused:
        view_of(Role).choose(wanted, brief=False)

    assert refused.value.message == message
    assert refused.value.hint == "the fields are id, description, protected, users"

"""passwords: generating, hashing, verifying."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from usermgr.errors import InvalidInput
from usermgr.hashes import is_too_costly
from usermgr.passwords import (
    ALPHABET,
    UNUSABLE,
    check_password,
    generate_password,
    hash_password,
    is_recognised,
    is_usable,
    verify_password,
)


def test_generated_passwords_are_long_and_unambiguous() -> None:
    made = {generate_password() for _ in range(200)}
    assert len(made) == 200
    assert {len(password) for password in made} == {24}
    assert set("".join(made)) <= set(ALPHABET)
    assert not set(ALPHABET) & set("0O1lIo")


@settings(max_examples=10, deadline=None)
@given(st.text(min_size=1, max_size=60).filter(lambda t: t.isprintable()))
def test_a_password_verifies_in_every_form_and_no_other_does(password: str) -> None:
    stored = hash_password(password)
    for form in ("NFC", "NFD"):
        assert verify_password(stored, unicodedata.normalize(form, password))
    assert not verify_password(stored, password + "x")


def test_nothing_is_cut_off() -> None:
    stored = hash_password("x" * 1024)
    assert not verify_password(stored, "x" * 1023)
    assert verify_password(stored, "x" * 1024)


@pytest.mark.parametrize(
    "stored", [UNUSABLE, "!old", "", "plain text", "$argon2id$broken", "$2b$12$x"]
)
def test_what_is_no_hash_verifies_nothing(stored: str) -> None:
    for password in ("", stored, "plain text", "!"):
        assert verify_password(stored, password) is False


@pytest.mark.parametrize(
    ("cost", "too_costly"),
    [
        ("m=19456,t=2,p=1", False),
        ("m=65536,t=3,p=4", False),
        ("m=262144,t=4,p=1", False),
        ("m=262145,t=1,p=1", True),
        ("m=4194304,t=100,p=1", True),
        ("m=262144,t=5,p=1", True),
        ("m=8,t=4294967295,p=1", True),
        ("m=65536,t=1,p=65", True),
    ],
)
def test_what_a_hash_may_ask_for(cost: str, too_costly: bool) -> None:
    for kind in ("argon2id", "argon2i", "argon2d"):
        stored = f"${kind}$v=19${cost}$c2FsdHNhbHRzYWx0$aGFzaGhhc2hoYXNoaGFzaA"
        assert is_too_costly(stored) is too_costly
        assert is_too_costly(stored.replace("v=19$", "")) is too_costly


@pytest.mark.parametrize("stored", [UNUSABLE, "", "plain text", "$argon2id$broken"])
def test_what_is_no_hash_costs_nothing(stored: str) -> None:
    assert is_too_costly(stored) is False


def test_the_marker() -> None:
    assert not is_usable(UNUSABLE)
    assert is_usable(hash_password("x"))
    assert is_recognised(hash_password("x"))
    assert not is_recognised("plain text")


@given(st.text(max_size=40))
def test_messages_never_hold_the_password(password: str) -> None:
    try:
        checked = check_password(password, min_length=30)
    except InvalidInput as error:
        told = error.message + (error.hint or "")
        assert len(password) < 10 or password not in told
        return
    assert checked == unicodedata.normalize("NFC", password)

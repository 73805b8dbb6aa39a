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
    refuse_own,
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


@pytest.mark.parametrize(
    ("password", "message"),
    [
        ("a" * 20, "one character"),
        ("aA" * 10, "one character"),
        (" " * 15, "one character"),
        ("ab" * 9, "a sequence of 2 characters"),
        ("abcabcabcabcabcab", "a sequence of 3 characters"),
        ("passwordPASSWORD", "a sequence of 8 characters"),
        ("12345678901234" * 2, "a sequence of 14 characters"),
    ],
)
def test_what_is_repeated_counts_once(password: str, message: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        check_password(password, min_length=15)
    assert refused.value.message == f"the password repeats {message}"


@pytest.mark.parametrize("password", ["123456789012345" * 2, "aaaaaaaaaaaaaab", "abcdefgabcdefgh"])
def test_what_is_long_enough_without_its_repetition_is_accepted(password: str) -> None:
    assert check_password(password, min_length=15) == password


@pytest.mark.parametrize(
    "password",
    [
        "ana.souza@example.com",
        "ANA.SOUZA@EXAMPLE.COM",
        "Ána Maria Souza",
        "souza ana souza",
        "anaanasouzaexample!!",
        "A\u0301na-Maria_Souza",
    ],
)
def test_what_is_made_of_the_own_name_and_e_mail_is_refused(password: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        refuse_own(password, "Ána Maria Souza", "ana.souza@example.com")
    assert password not in refused.value.message


@pytest.mark.parametrize(
    "password",
    [
        "ana souza is my name",
        "ana.souza@example.com7",
        "correct horse battery",
        "?!&%$§()={[]}+*~#",
        "🎉🐎🔋📎🎲🎻🪁🧩🎯🎱🪀🎭🎨🧵🪡",
    ],
)
def test_other_words_beside_the_own_name_are_accepted(password: str) -> None:
    refuse_own(password, "Ána Maria Souza", "ana.souza@example.com")


@given(st.text(max_size=40))
def test_messages_never_hold_the_password(password: str) -> None:
    try:
        checked = check_password(password, min_length=30)
    except InvalidInput as error:
        told = error.message + (error.hint or "")
        assert len(password) < 10 or password not in told
        return
    assert checked == unicodedata.normalize("NFC", password)

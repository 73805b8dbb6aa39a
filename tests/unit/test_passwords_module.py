"""passwords: generating, hashing, verifying."""

from __future__ import annotations

import unicodedata

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.derivations import note_derivations
from usermgr.errors import InvalidInput
from usermgr.hash_limits import Argon2Costs
from usermgr.hashes import is_too_costly
from usermgr.passwords import (
    ALPHABET,
    UNUSABLE,
    check_password,
    generate_password,
    hash_password,
    is_usable,
    refuse_own,
    spend,
    verify_password,
    wrap_hash,
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


BCRYPT = "$2b$04$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"


@pytest.mark.parametrize(
    ("stored", "password", "told"),
    [
        (BCRYPT, "x" * 73, "73 bytes, and its stored hash is of a kind that looks at 72 only"),
        (BCRYPT, "é" * 37, "74 bytes, and its stored hash is of a kind that looks at 72 only"),
        (
            "{CRYPT}aUihad99hmev6",
            "secret and more",
            "15 bytes, and its stored hash is of a kind that looks at 8 only",
        ),
    ],
)
def test_a_password_is_not_cut_to_what_an_old_hash_looks_at(
    stored: str, password: str, told: str
) -> None:
    for form in (stored, wrap_hash(stored) or ""):
        with pytest.raises(InvalidInput) as refused:
            verify_password(form, password)
        assert refused.value.message == f"the password has {told}"
        assert verify_password(form, password[:8]) is False


def test_what_is_too_long_for_bcrypt_before_normalising_only_is_verified() -> None:
    decomposed = "e\u0301" * 30
    stored = bcrypt.hashpw(("é" * 30).encode(), bcrypt.gensalt(4)).decode()
    assert verify_password(stored, decomposed)
    assert not verify_password(BCRYPT, decomposed)


PADDED = "$2b$04$abcdefghijklmnopqrstuxnJTwtBKnUV0BLy69tMjp/C88885aevm"


@pytest.mark.parametrize("stored", [PADDED, wrap_hash(PADDED) or ""])
def test_padding_bits_in_the_salt_of_bcrypt_count_for_nothing(stored: str) -> None:
    assert verify_password(stored, "pass word one")
    assert not verify_password(stored, "pass word two")


@pytest.mark.parametrize("password", ["\ud800", "x" * 1025, "x" * 100_000])
def test_what_no_password_can_be_matches_nothing(password: str) -> None:
    assert verify_password(hash_password("x"), password) is False


MINE = Argon2Costs(7168, 5, 1)
SPENT = "argon2 m=7168,t=5,p=1"
ONE_FORM, TWO_FORMS = "wrong", "wrong \u00e9"
BCRYPT_10 = "$2b$10$cVWp4XaNU8a4v1uMRum2SO026BWLIoQMD/TXg5uZV.0P.uO8m3YEm"
DJANGO = "pbkdf2_sha256$1000$c2FsdA$gwYiBUTJ0QTFvvnxfsHaJgnAPS2PLPsOoVjGxSXLuOE="
REFUSALS = {
    "of the parameters in force": (hash_password("x", MINE), [SPENT], 0),
    "with more memory": (hash_password("x", Argon2Costs(8192, 5, 1)), ["argon2 m=8192,t=5,p=1"], 0),
    "with less work": (hash_password("x", Argon2Costs(7168, 1, 1)), ["argon2 m=7168,t=1,p=1"], 1),
    "argon2i": (
        hash_password("x", MINE).replace("argon2id", "argon2i"),
        [SPENT],
        1,
    ),
    "bcrypt, quick": (BCRYPT, ["bcrypt c=04"], 1),
    "bcrypt, of OWASP's minimum": (BCRYPT_10, ["bcrypt c=10"], 1),
    "pbkdf2": (DJANGO, ["pbkdf2 i=1000"], 1),
    "a digest": ("{MD5}Xr4ilOzQ4PCOq3aQ0qbuaQ==", [], 1),
    "wrapped": (wrap_hash(BCRYPT, MINE) or "", ["bcrypt c=04", SPENT], 0),
    "wrapped with less": (
        wrap_hash(BCRYPT, Argon2Costs(7168, 1, 1)) or "",
        ["bcrypt c=04", "argon2 m=7168,t=1,p=1"],
        1,
    ),
    "the marker": (UNUSABLE, [], 1),
    "a marker of another kind": ("!old", [], 1),
    "nothing": ("", [], 1),
    "plain text": ("plain text", [], 1),
    "too costly": ("$2b$99$" + "a" * 53, [], 1),
}


@pytest.mark.parametrize(("stored", "takes", "spent"), REFUSALS.values(), ids=REFUSALS.keys())
@pytest.mark.parametrize("password", [ONE_FORM, TWO_FORMS, unicodedata.normalize("NFD", TWO_FORMS)])
def test_a_refusal_takes_as_long_as_one_of_the_parameters_in_force(
    monkeypatch: pytest.MonkeyPatch, stored: str, takes: list[str], spent: int, password: str
) -> None:
    """For each form that the password may have been stored in, as nobody can tell which it is."""
    forms = 2 if password != unicodedata.normalize("NFC", password) else 1
    noted = note_derivations(monkeypatch)
    assert verify_password(stored, password, MINE) is False
    assert noted == takes * forms + [SPENT] * spent * forms
    noted.clear()
    spend(password, MINE)
    assert noted == [SPENT] * forms


def test_what_no_password_can_be_takes_as_long(monkeypatch: pytest.MonkeyPatch) -> None:
    noted = note_derivations(monkeypatch)
    for password in ("\ud800", "x" * 1025):
        assert verify_password(BCRYPT, password, MINE) is False
        spend(password, MINE)
    assert noted == [SPENT] * 4


def test_a_right_password_takes_its_own_time_only(monkeypatch: pytest.MonkeyPatch) -> None:
    stored = bcrypt.hashpw(b"right", bcrypt.gensalt(4)).decode()
    noted = note_derivations(monkeypatch)
    assert verify_password(stored, "right", MINE)
    assert noted == ["bcrypt c=04"]

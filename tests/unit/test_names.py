"""Names: trimmed, NFC, 1 to 200 characters, no control characters; labels never look like ids."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermgr.errors import InvalidInput
from usermgr.names import MAX_ID, canonical_label, canonical_name, parse_id, visible

ACCEPTED = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=60).filter(
    str.strip
)


@pytest.mark.parametrize(
    ("given_name", "stored"),
    [
        ("Ana", "Ana"),
        ("  Ana  Souza ", "Ana  Souza"),
        ("\u00a0Ana\u3000", "Ana"),
        ("Cafe\u0301", "Café"),
        ("田中 花子", "田中 花子"),
        ("محمد", "محمد"),
        ("👩\u200d💻", "👩\u200d💻"),
        ("می\u200cخواهم", "می\u200cخواهم"),
        ("O'Brien; DROP TABLE users", "O'Brien; DROP TABLE users"),
        ("x" * 200, "x" * 200),
        (" " * 9 + "x" * 200, "x" * 200),
        ("e\u0301" * 200, "é" * 200),
    ],
)
def test_a_name_is_trimmed_and_in_nfc(given_name: str, stored: str):
    assert canonical_name(given_name, "user name") == stored


@pytest.mark.parametrize(
    ("given_name", "message"),
    [
        ("", "the user name is empty"),
        (" \t\u3000 ", "the user name is empty"),
        ("a\x00b", 'the user name "a\\x00b" contains the control character U+0000'),
        ("a\nb", 'the user name "a\\nb" contains the control character U+000A'),
        ("a\tb", 'the user name "a\\tb" contains the control character U+0009'),
        ("a\x1b[31mb", 'the user name "a\\x1b[31mb" contains the control character U+001B'),
        ("a\x85b", 'the user name "a\\x85b" contains the control character U+0085'),
        ("a\ud800b", 'the user name "a\\ud800b" contains the control character U+D800'),
        ("x" * 201, 'the user name "xxxxxxxxxxxxxxxxxxxx…" has 201 characters'),
    ],
)
def test_what_is_no_name_is_refused_and_shown_safely(given_name: str, message: str):
    with pytest.raises(InvalidInput) as refused:
        canonical_name(given_name, "user name")

    assert refused.value.message == message
    assert refused.value.hint


@given(ACCEPTED)
def test_the_stored_form_of_any_name_is_stable(name: str):
    stored = canonical_name(name, "name")

    assert canonical_name(stored, "name") == stored
    assert stored == unicodedata.normalize("NFC", name.strip()).strip()


@pytest.mark.parametrize("digits", ["7", " 12 ", "0", "9" * 40])
def test_a_label_of_digits_only_is_refused(digits: str):
    with pytest.raises(InvalidInput) as refused:
        canonical_label(digits, "role name")

    assert refused.value.message == f'the role name "{digits.strip()}" consists of digits only'


@pytest.mark.parametrize("label", ["7a", "-7", "1.5", "٣", "²", "reports:read"])
def test_a_label_that_is_no_id_is_kept(label: str):
    assert canonical_label(label, "role name") == label
    assert parse_id(label) is None


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("1", 1),
        ("007", 7),
        (str(MAX_ID), MAX_ID),
        (str(MAX_ID + 1), MAX_ID + 1),
        ("9" * 5000, MAX_ID + 1),
        ("", None),
        ("1 2", None),
        ("+1", None),
        ("ana@example.com", None),
    ],
)
def test_ids_are_ascii_digits_and_what_no_row_can_have_is_one_number(text: str, number: int | None):
    assert parse_id(text) == number


@given(st.text(max_size=300))
def test_what_a_message_shows_is_printable_and_short(text: str):
    shown = visible(text, 80)

    assert shown.isprintable()
    assert len(shown) <= 81

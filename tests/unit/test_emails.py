"""The canonical form of e-mails."""

from __future__ import annotations

import email_validator
import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermgr import emails
from usermgr.emails import canonical_email, lenient_email
from usermgr.errors import InvalidInput

LOCAL = st.text(st.sampled_from("abzAZ09!#$%&'*+/=?^_`{|}~-..\"() @é"), min_size=0, max_size=70)
DOMAIN = st.text(st.sampled_from("abzAZ09--..xn_é"), min_size=0, max_size=70)


@pytest.mark.parametrize(
    ("given_text", "canonical"),
    [
        ("Ana@Example.COM", "ana@example.com"),
        (" ana@example.com\n", "ana@example.com"),
        ("O'Brien+tag@example.co.uk", "o'brien+tag@example.co.uk"),
        ("josé@exämple.com", "josé@xn--exmple-cua.com"),
        ("jose\u0301@example.com", "josé@example.com"),
        ("JOSÉ@EXÄMPLE.com", "josé@xn--exmple-cua.com"),
        ("ana@xn--exmple-cua.com", "ana@xn--exmple-cua.com"),
        ("ana@corp.local", "ana@corp.local"),
        ("ana@service.test", "ana@service.test"),
    ],
)
def test_one_form(given_text: str, canonical: str) -> None:
    assert canonical_email(given_text) == canonical
    assert canonical_email(canonical) == canonical
    assert lenient_email(given_text) == canonical


@pytest.mark.parametrize(
    "given_text",
    [
        "",
        "ana",
        "ana@",
        "@example.com",
        "ana@localhost",
        "ana@example..com",
        "a..b@example.com",
        "ana@-example.com",
        "ana@example.com, eva@example.com",
        "Ana <ana@example.com>",
        "ana @example.com",
        "ana@[127.0.0.1]",
        "ana@1.2",
        "x" * 65 + "@example.com",
        "ana@" + "x" * 64 + ".com",
        "ana@example.com\x00",
        "half\ud800@example.com",
        "a" * 100_000,
    ],
    ids=lambda text: ascii(text)[:40],
)
def test_what_is_refused(given_text: str) -> None:
    with pytest.raises(InvalidInput) as raised:
        canonical_email(given_text)
    assert raised.value.message.endswith("is not a valid e-mail address")
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 200
    assert raised.value.hint


@given(LOCAL, DOMAIN)
def test_the_short_way_accepts_only_what_the_library_accepts(local: str, domain: str) -> None:
    address = f"{local}@{domain}".lower()
    if not address.isascii() or not emails._PLAIN.fullmatch(address):
        return
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    parsed = email_validator.validate_email(address, check_deliverability=False)
    assert f"{parsed.local_part}@{parsed.ascii_domain}".lower() == address


@given(LOCAL, DOMAIN)
def test_canonical_is_canonical(local: str, domain: str) -> None:
    try:
        canonical = canonical_email(f"{local}@{domain}")
    except InvalidInput:
        return
    assert canonical_email(canonical) == canonical
    assert lenient_email(canonical) == canonical
    assert canonical == canonical.lower()


@given(st.text(max_size=60))
def test_the_lenient_form_never_fails_and_is_stable(text: str) -> None:
    once = lenient_email(text)
    assert lenient_email(once) == once

"""The canonical form of e-mail addresses: NFC, lower case, the domain in its ASCII form.

Syntax follows RFC 5321 and RFC 6531 as the email-validator library reads them, without DNS. Names
that are reserved for special use (``.test``, ``.local``, ``.invalid``, ...) are accepted: this is a
tool for directories, and intranets and test systems live there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence

from usermgr.errors import InvalidInput
from usermgr.names import visible

LOCAL_MAX_BYTES = 64
MAX_BYTES = 254
"""RFC 5321, section 4.5.3.1, and erratum 1690 of RFC 3696."""

_ATOM = r"[a-z0-9!#$%&'*+/=?^_`{|}~-]+"
_CHARACTERS = bytes(c for c in range(128) if re.fullmatch(_ATOM, chr(c))) + b"."
_LABEL = r"(?!..--)[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = rf"(?:{_LABEL}\.)+(?!..--)[a-z]{{2,63}}"
_PLAIN_DOMAIN = re.compile(_DOMAIN)
_PLAIN = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@{_DOMAIN}")


def canonical_email(text: str) -> str:
    """The one form in which the address is stored and compared.

    Raises InvalidInput, naming the address and the reason, when it is not a valid address.
    """
    address = text.strip()
    if address.isascii():
        lowered = address.lower()
        # Nearly all addresses are plain ASCII; the expression accepts a subset of what the
        # library accepts, and spares its import and nine tenths of its time.
        if len(lowered) <= MAX_BYTES and _PLAIN.fullmatch(lowered):
            return lowered
    return _validated(address)


def canonical_plain_emails(texts: Sequence[str]) -> list[str] | None:
    """The canonical forms of many addresses at once; None when one of them is not plain ASCII, is
    not valid, or has spaces around it: they are then to be looked at one by one."""
    lowered = "\n".join(texts).lower()
    if not texts or not lowered.isascii() or max(map(len, texts)) > LOCAL_MAX_BYTES:
        return None
    # Characters, dots and domains each at once cost half of an expression for every address.
    lines = f"\n{lowered}\n"
    if lines.encode().translate(None, _CHARACTERS) != b"\n" + b"@\n" * len(texts):
        return None
    if any(wrong in lines for wrong in ("\n.", "\n@", "..", ".@")):
        return None
    found = lowered.split("\n")
    domains = {address.partition("@")[2] for address in found}
    return found if all(map(_PLAIN_DOMAIN.fullmatch, domains)) else None


def _validated(address: str) -> str:
    import email_validator

    # The library's own documented switch: what stands in this list is refused.
    email_validator.SPECIAL_USE_DOMAIN_NAMES.clear()
    try:
        parsed = email_validator.validate_email(
            address[: MAX_BYTES * 4], check_deliverability=False
        )
    except (email_validator.EmailNotValidError, UnicodeError) as error:
        reason = str(error) if isinstance(error, email_validator.EmailNotValidError) else ""
        raise InvalidInput(
            f'"{visible(address)}" is not a valid e-mail address',
            hint=_as_hint(reason) or "it must be UTF-8 text of the form name@domain.tld",
        ) from error
    canonical = lenient_email(f"{parsed.local_part}@{parsed.ascii_domain}")
    for part, limit in ((canonical.rpartition("@")[0], LOCAL_MAX_BYTES), (canonical, MAX_BYTES)):
        if len(part.encode()) > limit:
            raise InvalidInput(
                f'"{visible(address)}" is not a valid e-mail address',
                hint=f'"{visible(part, 20)}" has more than {limit} bytes',
            )
    return canonical


def lenient_email(text: str) -> str:
    """The canonical form of an address that is stored already and may not be valid.

    Used to adopt existing tables, where no row may be lost: what cannot be parsed is kept, trimmed,
    in NFC and lower case.
    """
    lowered = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text.strip()).lower())
    local, at, domain = lowered.rpartition("@")
    if not at or domain.isascii():
        return lowered
    import idna

    try:
        return f"{local}@{idna.encode(domain, uts46=True).decode('ascii').lower()}"
    except idna.IDNAError:
        return lowered


def _as_hint(sentence: str) -> str:
    sentence = sentence.rstrip(".")
    return visible(sentence[:1].lower() + sentence[1:], 200)

"""docs/passwords.md lists the formats that the program knows."""

from __future__ import annotations

import re

import pytest

from tests.support.commands import PROJECT
from usermgr.hashes import hash_problem
from usermgr.hashes.forms import FORMATS
from usermgr.hashes.strength import Strength

PAGE = (PROJECT / "docs" / "passwords.md").read_text(encoding="utf-8")
FORMATS_TABLE, _, REST = PAGE.partition("**Caps.**")
ROWS = re.findall(r"^\| ([a-z0-9-]+) \| (.*) \| .* \|$", FORMATS_TABLE, re.MULTILINE)


def test_every_format_is_listed() -> None:
    listed = [name for name, _ in ROWS if name not in ("format", "---")]
    assert [*listed, "none"] == list(FORMATS)


@pytest.mark.parametrize(("name", "looks"), [row for row in ROWS if "SALT$" in row[1]])
def test_what_a_format_looks_like_is_recognised(name: str, looks: str) -> None:
    sizes = {"sha256-crypt": 43, "sha512-crypt": 86}
    digest = "a" * sizes.get(name, 22)
    for example in re.findall(r"`([^`]*SALT\$[^`]*)`", looks):
        filled = example.replace("SALT", "c2FsdA").replace("HASH", digest)
        assert hash_problem(filled.replace("HEX", "0a" * 20)) is None


def test_every_strength_is_told() -> None:
    told = re.findall(r"^\| ([a-z ]+) \| .* \| .* \|$", REST, re.MULTILINE)
    assert told == ["strength", *(strength.value for strength in Strength)]

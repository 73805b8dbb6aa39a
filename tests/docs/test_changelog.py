"""The changelog speaks of this version, or of the one that is being made."""

from __future__ import annotations

import re

from tests.support.commands import PROJECT
from usermgr import __version__

CHANGELOG = (PROJECT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_newest_section_is_the_current_one_and_says_something() -> None:
    heading, _, rest = CHANGELOG.partition("\n## ")[2].partition("\n")

    assert heading == "[Unreleased]" or heading.startswith(f"[{__version__}] - ")
    assert re.search(r"^- \S", rest.partition("\n## ")[0], re.MULTILINE)

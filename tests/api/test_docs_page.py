"""/docs is served whole by this server, and the files of others are what their README says."""

from __future__ import annotations

import hashlib
import re

from tests.support.serving import Face
from usermgr.api.docs_page import ASSETS


def test_every_file_of_the_page_is_served_under_a_strict_policy(face: Face) -> None:
    page = face("GET", "/docs", token=None)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"].startswith(
        "default-src 'none'; script-src 'self'"
    )
    links = re.findall(r'(?:src|href)="([^"]+)"', page.text)
    assert len(links) == 4
    for link in links:
        file = face("GET", f"/{link}", token=None)
        assert (file.status_code, file.content) == (200, (ASSETS / link[5:]).read_bytes())
    assert "://" not in page.text


def test_the_files_of_others_are_those_that_their_readme_names() -> None:
    named = dict(
        re.findall(r"\| `([^`]+)` \| `([0-9a-f]{64})` \|", (ASSETS / "README.md").read_text())
    )
    assert len(named) == 6
    for name, digest in named.items():
        assert hashlib.sha256((ASSETS / name).read_bytes()).hexdigest() == digest

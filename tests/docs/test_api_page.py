"""docs/api.md: its examples are run, and its errors are those of the program."""

from __future__ import annotations

import contextlib
import io
import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.support.commands import PROJECT
from tests.support.serving import Face, serving
from usermgr.api.problems import CODES

PAGE = (PROJECT / "docs" / "api.md").read_text(encoding="utf-8")
VARYING = (
    (re.compile(r'"\d{4}-\d\d-\d\dT[\d:.]+Z"'), '"TIME"'),
    (re.compile(r'"generated_password":"(?:[A-Za-z2-9]{24}|\*{24})"'), '"generated_password":""'),
    (re.compile(r'"request_id": "[0-9a-f]{16}"'), '"request_id": ""'),
)


def block(kind: str) -> str:
    """The page's first block of that kind."""
    found = re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert found is not None
    return found[1]


def alike(text: str) -> str:
    """The text with what differs from run to run taken out."""
    for pattern, instead in VARYING:
        text = pattern.sub(instead, text)
    return text


@pytest.fixture
def face(migrated_sqlite_url: str) -> Iterator[Face]:
    """A server whose database is empty."""
    with serving(migrated_sqlite_url) as face:
        yield face


def test_the_examples_do_what_the_page_says(face: Face) -> None:
    token = face.tokens["all"]
    env = {
        **os.environ,
        "API": face.url,
        "AUTH": f"Authorization: Bearer {token}",
        "JSON": "Content-Type: application/json",
    }
    steps = re.findall(r"^\$ (.*)\n(.*)$", block("console"), re.MULTILINE)
    assert len(steps) >= 6
    for command, expected in steps:
        done = subprocess.run(["sh", "-c", command], env=env, capture_output=True, check=False)
        assert (done.returncode, alike(done.stdout.decode())) == (0, alike(expected)), command

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(block("python"), "api.md", "exec"), {"API": face.url, "TOKEN": token})  # noqa: S102
    assert printed.getvalue() == 'False "2"\nana@example.com\nbruno@example.com\n'


def test_the_errors_are_those_of_the_program() -> None:
    told = re.findall(r"^\| (\d{3}) \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert {int(status): code for status, code in told} == CODES

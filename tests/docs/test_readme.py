"""What README and docs say is what the program does."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.commands import PROJECT, Command, process_environment

README = (PROJECT / "README.md").read_text(encoding="utf-8")
PASSWORD = re.compile(r"^(generated_password +)[A-Za-z2-9]{24}$")


def _transcript() -> list[tuple[str, list[str]]]:
    """The commands of README's transcript with the lines they print."""
    block = re.search(r"```console\n(.*?)```", README, re.DOTALL)
    assert block is not None
    steps: list[tuple[str, list[str]]] = []
    for line in block[1].splitlines():
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def test_the_transcript_is_what_happens(tmp_path: Path) -> None:
    steps = _transcript()
    assert len(steps) >= 6
    for command, expected in steps:
        words = shlex.split(command)
        assert words[0] == "usermgr"
        done = subprocess.run(
            [sys.executable, "-m", "usermgr", *words[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**process_environment(), "USERMGR_OUTPUT": "table", "COLUMNS": "200"},
            cwd=tmp_path,
            timeout=60,
            check=False,
        )
        lines = [line.rstrip() for line in done.stdout.decode().splitlines()]
        shown = [PASSWORD.sub(rf"\g<1>{'*' * 24}", line) for line in lines]
        assert shown == expected, command


def test_the_generated_parts_are_up_to_date() -> None:
    done = subprocess.run(
        [sys.executable, str(PROJECT / "docs" / "generate.py"), "--check"],
        capture_output=True,
        env=process_environment(),
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout.decode()) == (0, "")


def test_every_option_that_readme_names_exists() -> None:
    reference = (PROJECT / "docs" / "reference.md").read_text(encoding="utf-8")
    known = {*re.findall(r"--[a-z-]+", reference), "--install-completion", "--help"}
    prose = README.replace("<!--", "").replace("-->", "")
    named = set(re.findall(r"(?<![\w-])--[a-z]+(?:-[a-z]+)*", prose))
    assert named - known == set()


def test_every_link_to_a_file_leads_to_one() -> None:
    for page in (PROJECT / "README.md", *(PROJECT / "docs").glob("*.md")):
        for target in re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_no_file_holds_a_path_of_somebodys_machine() -> None:
    listed = subprocess.run(
        ["git", "ls-files"], cwd=PROJECT, capture_output=True, check=True, timeout=60
    )
    home = re.compile(r"/(?:home|Users|root|work)/[a-z]")
    for name in listed.stdout.decode().splitlines():
        if name == "tests/docs/test_readme.py" or not os.path.isfile(PROJECT / name):  # noqa: PTH113
            continue
        content = (PROJECT / name).read_text(encoding="utf-8", errors="replace")
        assert not home.search(content), name


def test_the_orm_of_the_challenge_page_answers(cli: Command, database_url: str) -> None:
    page = (PROJECT / "docs" / "challenge.md").read_text(encoding="utf-8")
    code = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert code is not None
    _create_ana(cli)
    program = f"{code[1]}\nimport sys\nprint(describe(sys.argv[1], 'ana@example.com'))"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program,
            database_url.replace("postgresql:", "postgresql+psycopg2:"),
        ],
        capture_output=True,
        env=process_environment(),
        timeout=60,
        check=False,
    )
    expected = "('Ana Souza', 'ana@example.com', 'admin', ['a:read', 'b:write'])\n"
    assert (done.stdout.decode(), done.stderr.decode()) == (expected, "")


def test_the_sql_of_the_challenge_page_answers(cli: Command, database_url: str) -> None:
    from sqlalchemy import text

    from tests.support.databases import open_database

    page = (PROJECT / "docs" / "challenge.md").read_text(encoding="utf-8")
    query = re.search(r"```sql\n(.*?)```", page, re.DOTALL)
    assert query is not None
    _create_ana(cli)
    with open_database(database_url).connect() as connection:
        rows = [tuple(row) for row in connection.execute(text(query[1]))]
    who = ("Ana Souza", "ana@example.com", "admin")
    assert rows == [(*who, "a:read"), (*who, "b:write")]


def _create_ana(cli: Command) -> None:
    ana = ["--name", "Ana Souza", "--email", "ana@example.com", "--role", "admin"]
    for words in (
        ["role", "create", "admin"],
        ["claim", "create", "b:write"],
        ["claim", "create", "a:read"],
        ["user", "create", "--no-password", *ana, "--claim", "b:write", "--claim", "a:read"],
    ):
        assert cli(*words).exit_code == 0


@pytest.mark.parametrize("heading", ["Commands", "Settings", "Exit statuses"])
def test_readme_has_its_tables(heading: str) -> None:
    section = README.partition(f"## {heading}\n")[2].partition("\n## ")[0]
    assert section.count("\n| ") > 5

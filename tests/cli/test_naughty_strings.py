"""The big list of naughty strings through imports and exports: stored exactly, or refused."""

from __future__ import annotations

import csv
import io
import json
import re
import unicodedata
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import PROJECT, Command
from tests.support.consistency import broken_promises

LIST = PROJECT / "tests" / "data" / "big-list-of-naughty-strings" / "blns.json"
STRINGS: list[str] = json.loads(LIST.read_text(encoding="utf-8"))

User = dict[str, Any]


def stored_name(text: str) -> str | None:
    """What becomes of a name by the rules; None when it is refused."""
    name = text.strip()
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        return None
    name = unicodedata.normalize("NFC", name).strip()
    return name if 1 <= len(name) <= 200 else None


def write_users(format_name: str, users: Iterable[User]) -> str:
    """A file of the users, each on a line of its own."""
    path = Path(f"users.{format_name}")
    with path.open("w", encoding="utf-8", newline="") as file:
        if format_name == "csv":
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["name", "email", "role"])
            writer.writerows(user.values() for user in users)
        else:
            file.writelines(json.dumps(user, ensure_ascii=False) + "\n" for user in users)
    return str(path)


def read_rejects(path: str) -> list[tuple[int, str]]:
    """The line and the reason of each refused row."""
    text = Path(path).read_text(encoding="utf-8")
    if path.endswith("csv"):
        rows = list(csv.DictReader(io.StringIO(text, newline="")))
    else:
        rows = [json.loads(line) for line in text.split("\n")[:-1]]
    return [(int(row["line"]), row["reason"]) for row in rows]


def exported(cli: Command, format_name: str, field: str) -> dict[str, Any]:
    """The field of every user, by e-mail, read by what is not our own reader."""
    words = ("user", "export", "--format", format_name, "--fields", f"email,{field}")
    done = cli(*words)
    assert done.exit_code == 0
    if format_name == "json":
        return {user["email"]: user[field] for user in done.json}
    if format_name == "jsonl":
        users = [json.loads(line) for line in done.stdout.split("\n")[:-1]]
        return {user["email"]: user[field] for user in users}
    if format_name == "csv":
        return dict(list(csv.reader(io.StringIO(done.stdout, newline="")))[1:])
    meaning = {"\\\\": "\\", "\\t": "\t", "\\n": "\n", "\\r": "\r"}
    rows = [line.split("\t") for line in done.stdout.split("\n")[1:-1]]
    return {
        email: re.sub(r"\\[\\tnr]", lambda found: meaning[found[0]], cell) for email, cell in rows
    }


@pytest.fixture(autouse=True)
def role(cli: Command) -> None:
    assert cli("role", "create", "member").exit_code == 0


@pytest.mark.parametrize("format_name", ["csv", "jsonl"])
def test_a_naughty_name_is_stored_exactly_or_its_line_is_told(
    cli: Command, database_url: str, format_name: str
) -> None:
    first_line = 2 if format_name == "csv" else 1
    refused = [n for n, text in enumerate(STRINGS) if stored_name(text) is None]
    assert (len(STRINGS), len(refused)) == (461, 10)
    expected: dict[str, object] = {}
    # First into empty tables, then beside users that are there.
    for domain in ("a.example", "b.example"):
        users: list[User] = [
            {"name": text, "email": f"u{number}@{domain}", "role": "member"}
            for number, text in enumerate(STRINGS)
        ]
        file = write_users(format_name, users)
        none = cli("user", "import", file)
        assert (none.exit_code, none.stdout) == (2, "")
        told = [int(line) for line in re.findall(r"^  line (\d+): ", none.stderr, re.MULTILINE)]
        assert told == [number + first_line for number in refused][:10]
        assert exported(cli, "json", "name") == expected

        rejects = f"rejects.{format_name}"
        done = cli(
            *("user", "import", file, "--on-error", "skip", "--rejects", rejects, "-o", "json")
        )
        assert (done.exit_code, done.json["created"]) == (6, len(STRINGS) - len(refused))
        found = read_rejects(rejects)
        assert [line - first_line for line, _ in found] == refused
        assert all("the name is missing" in why or "the user name " in why for _, why in found)

        for number, text in enumerate(STRINGS):
            if (name := stored_name(text)) is not None:
                expected[f"u{number}@{domain}"] = name
        for export in ("csv", "tsv", "jsonl", "json"):
            assert exported(cli, export, "name") == expected

    # And a comparison with what is stored finds no difference.
    again = cli(
        *("user", "import", file, "--on-conflict", "update", "--on-error", "skip", "-o", "json")
    )
    assert again.exit_code == 6
    assert (again.json["unchanged"], again.json["updated"]) == (len(STRINGS) - len(refused), 0)
    assert broken_promises(database_url) == {}


def test_a_naughty_claim_is_given_back_or_its_line_is_told(cli: Command, database_url: str) -> None:
    # What consists of digits alone means a claim by its id.
    strings = [text for text in STRINGS if not (text.isascii() and text.isdigit())]
    users: list[User] = [
        {"name": "N", "email": f"u{number}@example.com", "role": "member", "claims": [text]}
        for number, text in enumerate(strings)
    ]
    file = write_users("jsonl", users)
    done = cli(
        *("user", "import", file, "--create-claims", "--on-error", "skip"),
        *("--rejects", "rejects.jsonl", "-o", "json"),
    )
    assert done.exit_code == 6, done.stderr
    refused = [n for n, text in enumerate(strings) if stored_name(text) is None]
    assert [line - 1 for line, _ in read_rejects("rejects.jsonl")] == refused
    held = exported(cli, "json", "claims")
    # Claims that differ in case only are one: the first.
    assert {email: str(names).lower() for email, names in held.items()} == {
        f"u{number}@example.com": str([stored_name(text)]).lower()
        for number, text in enumerate(strings)
        if number not in refused
    }
    for export in ("csv", "tsv"):
        cells = exported(cli, export, "claims")
        assert {e: [re.sub(r"\\(.)", r"\1", str(cell))] for e, cell in cells.items()} == held
    assert broken_promises(database_url) == {}


def test_naughty_roles_and_e_mails_break_nothing(cli: Command, database_url: str) -> None:
    users: list[User] = []
    for number, text in enumerate(STRINGS):
        users += [
            {"name": "N", "email": f"u{number}@example.com", "role": text},
            {"name": "N", "email": text, "role": "member"},
            {"name": "N", "email": f"{text}@example.com", "role": "member"},
            {"name": "N", "email": f"v@{text}", "role": "member"},
        ]
    for format_name in ("csv", "jsonl"):
        file = write_users(format_name, users)
        done = cli(
            *("user", "import", file, "--create-roles", "--on-error", "skip"),
            *("--on-conflict", "update", "--rejects", f"rejects.{format_name}", "-o", "json"),
        )
        assert done.exit_code == 6, done.stderr
        assert done.json["read"] == len(users)
        assert len(read_rejects(f"rejects.{format_name}")) == done.json["rejected"]
        assert sum(done.json[n] for n in ("created", "unchanged")) == len(users) - int(
            done.json["rejected"]
        )
    assert done.json["created"] == 0
    assert broken_promises(database_url) == {}

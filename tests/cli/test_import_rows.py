"""Rows that are easily mistaken for each other, and what the reject file says of odd ones."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Command
from tests.support.consistency import broken_promises

LETTERS = "xyz"


@pytest.fixture(autouse=True)
def labels(cli: Command) -> None:
    assert cli("role", "create", "member").exit_code == 0
    for claim in LETTERS:
        assert cli("claim", "create", claim).exit_code == 0


def held_claims(cli: Command) -> dict[str, list[str]]:
    users = cli("user", "list", "-o", "json").json
    return {user["email"]: user["claims"] for user in users}


def one_line(users: list[dict[str, Any]]) -> str:
    """A json file whose rows all begin on its first line."""
    Path("users.json").write_text(json.dumps(users))
    return "users.json"


@pytest.mark.parametrize("on_conflict", ["fail", "skip", "update"])
def test_rows_on_one_line_of_json_stay_apart(
    cli: Command, database_url: str, on_conflict: str
) -> None:
    users = [
        {"name": f"N{c}", "email": f"{c}@example.com", "role": "member", "claims": [c]}
        for c in LETTERS
    ]
    # The second time all of them are new again, but the tables are not empty.
    for domain in ("", "also."):
        for user in users:
            user["email"] = f"{user['claims'][0]}@{domain}example.com"
        bad = [{"name": "Bad", "email": f"{n}@", "role": "member"} for n in range(2)]
        done = cli(
            *("user", "import", one_line([*users[:2], *bad, *users[2:]]), "--on-error", "skip"),
            *("--on-conflict", on_conflict, "--results", "results.csv", "-o", "json"),
            *("--rejects", "rejects.json", "--generate-passwords", f"{domain}passwords.csv"),
        )
        assert (done.exit_code, done.json["read"], done.json["created"]) == (6, 5, 3)
        assert done.stderr.count("line 1: ") == 2
        rejects = json.loads(Path("rejects.json").read_text())
        assert [(row["line"], row["email"]) for row in rejects] == [(1, "0@"), (1, "1@")]
        emails = [user["email"] for user in users]
        for file in ("results.csv", f"{domain}passwords.csv"):
            rows = csv.DictReader(io.StringIO(Path(file).read_text()))
            assert [row["email"] for row in rows] == emails
    assert held_claims(cli) == {
        f"{c}@{domain}example.com": [c] for domain in ("", "also.") for c in LETTERS
    }
    assert broken_promises(database_url) == {}


def test_updates_from_one_line_of_json_reach_whom_they_name(
    cli: Command, database_url: str
) -> None:
    users: list[dict[str, Any]] = [
        {"name": "N", "email": f"{c}@example.com", "role": "member", "claims": [c]} for c in LETTERS
    ]
    assert cli("user", "import", one_line(users)).exit_code == 0
    users[0]["claims"], users[1]["name"] = ["y", "z"], "New"
    users.append({"name": "Again", "email": "x@example.com", "role": "member"})
    done = cli(
        *("user", "import", one_line(users), "--on-conflict", "update", "--on-error", "skip"),
        *("-o", "json"),
    )
    assert (done.exit_code, done.json["updated"], done.json["unchanged"]) == (6, 2, 1)
    assert 'the e-mail \\"x@example.com\\" stands on line 1 already' in done.stderr
    assert held_claims(cli) == {
        "x@example.com": ["y", "z"],
        "y@example.com": ["y"],
        "z@example.com": ["z"],
    }
    assert [u["name"] for u in cli("user", "list", "-o", "json").json] == ["N", "New", "N"]
    assert broken_promises(database_url) == {}


@pytest.mark.parametrize("beside", [False, True])
def test_a_new_user_without_name_and_role_is_one_bad_row(cli: Command, *, beside: bool) -> None:
    if beside:
        person = ("--name", "A", "--email", "a@example.com", "--role", "member", "--no-password")
        assert cli("user", "create", *person).exit_code == 0
    content = "name,email,role\nN,n@example.com,member\n,b@example.com,\nC,c@example.com,\n"
    Path("users.csv").write_text(content)
    words = ("--on-conflict", "update", "--rejects", "rejects.csv")
    done = cli("user", "import", "users.csv", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.splitlines()[:3] == [
        "error: 2 of 3 rows are bad: nothing was stored",
        "  line 3: the name is missing",
        "  line 4: the role is missing",
    ]
    assert Path("rejects.csv").read_text().splitlines()[1:] == [
        "3,the name is missing,,b@example.com,",
        "4,the role is missing,C,c@example.com,",
    ]
    partly = cli("user", "import", "users.csv", *words, "--on-error", "skip", "-o", "json")
    assert (partly.exit_code, partly.json["created"], partly.json["rejected"]) == (6, 1, 2)


# What a file holds, and how the rows of its reject file end: with what was read of each.
NO_TEXT: dict[str, tuple[bytes, list[bytes]]] = {
    "csv": (
        b'name,email,role\nB\xff,b@example.com,member\nC,c@\n"D\rE",d@example.com,member\n',
        [b",B\xff,b@example.com,member", b",C,c@", b',"D\rE",d@example.com,member'],
    ),
    "tsv": (
        b"name\temail\trole\nB\xff\tb@example.com\tmember\nC\tc@\n",
        [b"\tB\xff\tb@example.com\tmember", b"\tC\tc@"],
    ),
    # Of JSON half surrogates stay the escapes that they were, and bytes become some.
    "jsonl": (
        (
            b'{"name": "B\\ud800", "email": "b@example.com"}\n'
            b'{"name": "C", "email": "c\xff@c.com", "role": "r"}\n'
        ),
        [
            b', "name": "B\\ud800", "email": "b@example.com"}',
            b', "email": "c\\udcff@c.com", "role": "r"}',
        ],
    ),
    "json": (
        (
            b'[\n{"name": "B\\udcff", "email": "b@example.com"},\n'
            b'{"name": "C", "email": "c@", "role": ""}\n]\n'
        ),
        [b', "name": "B\\udcff", "email": "b@example.com"},', b', "email": "c@", "role": ""}'],
    ),
}


@pytest.mark.parametrize("format_name", NO_TEXT)
def test_what_is_no_text_is_refused_and_given_back(cli: Command, format_name: str) -> None:
    content, endings = NO_TEXT[format_name]
    Path(f"0.{format_name}").write_bytes(content)
    # The rejects of rejects are the same again.
    for turn in range(2):
        source, rejects = f"{turn}.{format_name}", f"{turn + 1}.{format_name}"
        done = cli("user", "import", source, "--on-error", "skip", "--rejects", rejects)
        assert (done.exit_code, done.stderr.count("\n  line ")) == (6, len(endings))
        rows = Path(rejects).read_bytes().split(b"\n")[:-1]
        if format_name != "jsonl":
            rows = rows[1 : len(endings) + 1]
        found = [row[-len(ending) :] for row, ending in zip(rows, endings, strict=True)]
        assert found == endings
    assert cli("user", "list", "-o", "json").json == []


SECRET = "correct horse battery"
WHO = '"name": "A", "role": "b", "email": "a@"'
# Files with a row that is refused, and with a secret in a place where few would look for it.
HIDDEN: dict[str, tuple[str, tuple[str, ...]]] = {
    "escaped.jsonl": (f'{{"pass\\u0077ord": "{SECRET}"\n', ()),
    "misspelt.jsonl": (f'{{"pasword": "{SECRET}"\n', ()),
    "second half.jsonl": (f'{{"email": "a@", "password":\n"{SECRET}"}}\n', ()),
    "ignored.jsonl": (f'{{{WHO}, "Password": "{SECRET}"}}\n', ("Password",)),
    "mapped.jsonl": (f'{{{WHO}, "passwort": "", "password": "{SECRET}"}}\n', ()),
    "ignored.json": (f'[{{{WHO}, "Password": "{SECRET}"}}]\n', ("Password",)),
    "ignored.csv": (f"name,role,email,Password\nA,b,a@,{SECRET}\n", ("Password",)),
    "ignored, ragged.csv": (f"name,role,email,Password\n,{SECRET}\n", ("Password",)),
    "mapped.csv": (f"name,role,email,passwort,password\nA,b,a@,,{SECRET}\n", ()),
    "mapped, ragged.csv": (f"name,role,email,passwort,password\n{SECRET}\n", ()),
    "ignored.tsv": (f"name\trole\temail\tPassword\nA\tb\ta@\t{SECRET}\n", ("Password",)),
}


@pytest.mark.parametrize("name", HIDDEN)
def test_a_reject_file_holds_no_secret_wherever_it_stands(cli: Command, name: str) -> None:
    content, ignored = HIDDEN[name]
    Path(name).write_text(content)
    words = [word for column in ignored for word in ("--ignore-column", column)]
    if "mapped" in name:
        words += ["--map", "password=passwort"]
    done = cli("user", "import", name, "--rejects", "r", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    kept = Path("r").read_text()
    assert ("line" in kept, SECRET in kept) == (True, False)
    assert SECRET not in done.stderr
    assert not any(column in kept for column in ignored)


def test_what_is_no_json_is_told_and_not_repeated(cli: Command) -> None:
    content = b'{"name": "C\xff\n["x"]\n{"password": "secret of D\n'
    done = cli("user", "import", "-", "--rejects", "r.jsonl", stdin=content)
    assert (done.exit_code, done.stdout) == (2, "")
    rows = [json.loads(line) for line in Path("r.jsonl").read_bytes().splitlines()]
    assert [(row["line"], sorted(row)) for row in rows] == [
        (number, ["line", "reason"]) for number in (1, 2, 3)
    ]
    assert "secret" not in Path("r.jsonl").read_text()


ENCODED: list[tuple[str, tuple[str, ...]]] = [
    ("latin-1", ("--encoding", "latin-1")),
    ("cp1252", ("--encoding", "cp1252")),
    ("utf-16", ()),
    ("utf-16", ("--encoding", "utf-16")),
    ("utf-16-be", ("--encoding", "utf-16-be")),
    ("utf-32", ()),
    ("shift_jis", ("--encoding", "shift_jis")),
]


@pytest.mark.parametrize("ending", ["csv", "tsv", "jsonl", "json"])
def test_rejects_have_the_encoding_of_the_input(cli: Command, ending: str) -> None:
    for encoding, words in ENCODED:
        require_same_encoding(cli, ending, encoding, words)


def require_same_encoding(cli: Command, ending: str, encoding: str, words: tuple[str, ...]) -> None:
    name = "表す" if encoding == "shift_jis" else "Äé"
    separator = "," if ending == "csv" else "\t"
    content = "".join(
        separator.join(cells) + "\n"
        for cells in (("name", "role", "email"), (name, "x", "a@" + "x" * 90))
    )
    if ending.startswith("json"):
        content = json.dumps({"name": name, "email": "a@" + "é" * 90, "role": "\u0416"})
        content = content.replace(json.dumps(name), f'"{name}"')
        content = f"[{content}]" if ending == "json" else content
    Path(f"x.{ending}").write_bytes(content.encode(encoding))
    done = cli("user", "import", f"x.{ending}", *words, "--rejects", f"r.{ending}")
    assert (done.exit_code, "rows are bad" in done.stderr) == (2, True), done.stderr
    kept = Path(f"r.{ending}").read_bytes()
    assert name in kept.decode(encoding)
    again = cli("user", "import", f"r.{ending}", *words, "--rejects", f"s.{ending}")
    assert again.exit_code == 2
    once_more = Path(f"s.{ending}").read_bytes().decode(encoding)
    if ending == "json":
        once_more = once_more.replace('"line": 2', '"line": 1')
    assert once_more == kept.decode(encoding)


@pytest.mark.parametrize("ending", ["csv", "jsonl"])
def test_a_note_says_that_rejects_have_no_passwords(cli: Command, ending: str) -> None:
    rows = [
        {"name": "A", "email": f"{n}@example.com", "role": "nobody", "password": secret}
        for n, secret in enumerate((SECRET, SECRET, ""))
    ]
    text = "".join(json.dumps(row) + "\n" for row in rows)
    if ending == "csv":
        text = "".join(",".join(row.values()) + "\n" for row in rows)
        text = f"name,email,role,password\n{text}A,x,y,{SECRET},z\n"
    Path(f"x.{ending}").write_text(text)
    number = 3 if ending == "csv" else 2
    for words, exit_code in (((), 2), (("--on-error", "skip"), 6)):
        done = cli("user", "import", f"x.{ending}", "--rejects", "r", *words)
        assert done.exit_code == exit_code
        assert done.stderr.startswith(
            f'note: "r" holds no passwords; rejected rows that had one: {number}; add theirs'
        )
    assert "note" not in cli("user", "import", f"x.{ending}").stderr


@pytest.mark.parametrize(
    ("name", "rejects", "refused"),
    [
        ("x.tsv", "r.csv", True),
        ("x.tsv", "r.JSON.gz", True),
        ("x.tsv", "r.tsv", False),
        ("x.tsv", "r.txt", False),
        ("x.jsonl", "r.ndjson", False),
        ("x.ndjson", "r.json", True),
    ],
)
def test_the_name_of_a_reject_file_promises_no_other_format(
    cli: Command, name: str, rejects: str, refused: bool
) -> None:
    Path(name).write_text("email\tname\trole\na@\tA\tb\n" if name == "x.tsv" else f"{{{WHO}}}\n")
    done = cli("user", "import", name, "--rejects", rejects)
    assert (done.exit_code, Path(rejects).exists()) == (2, not refused)
    assert ("rejects have the input's format" in done.stderr) is refused

"""Strings that break tools: through create, show, list and every format unchanged, or refused."""

from __future__ import annotations

import csv
import io
import json
import unicodedata

import pytest
import yaml

from tests.support.commands import Command

ACCEPTED = [
    "O'Brien",
    'say "hello"',
    "Robert'); DROP TABLE users;--",
    "' OR '1'='1",
    "$(touch /tmp/x) `id` ${HOME} %s %(x)s {0} :name",
    "[red]alarm[/red] [/] [link=https://example.com]x[/link]",
    ":smile: \\[bold]",
    "=cmd()|' /C calc'!A0",
    "-1+1",
    "@SUM(1)",
    "back\\slash \\n \\t \\\\",
    "semi;colon;;",
    "comma,comma",
    "null",
    "None",
    "true",
    "1e5",
    "0x1F",
    "2026-01-01",
    "~",
    "- item",
    "key: value # comment",
    "&anchor *alias !tag",
    "<script>alert(1)</script>",
    "𝒵𝓸𝓮 👩‍👩‍👧‍👦 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "אבג \u200f\u200e عمر",
    "spoof \u202egnp.exe",
    "zero\u200bwidth\ufeff",
    "line\u2028separator\u2029here",
    "Zalgo Z͑ͫ̓ͪ̂ͫ̽͏̴̙̤̞͉͚̯̞̠",
    "e\u0301 combining",
    "İstanbul ı ß ſ",
    "\U0001f600" * 200,
    "x" * 200,
]
REFUSED = [
    "",
    "   ",
    "tab\there",
    "line\nbreak",
    "carriage\rreturn",
    "nul\x00byte",
    "escape\x1b[31mred",
    "bell\x07",
    "delete\x7f",
    "c1\x85control",
    "half\ud800surrogate",
    "undecodable\udcff",
    "x" * 201,
]


def _stored(text: str) -> str:
    return unicodedata.normalize("NFC", text.strip())


@pytest.fixture(autouse=True)
def role(cli: Command) -> None:
    cli("role", "create", "member")


def _create(cli: Command, name: str, number: int = 0):
    return cli(
        *("user", "create", f"--name={name}", "--email", f"u{number}@example.com"),
        *("--role", "member", "--no-password", "-o", "json"),
    )


def test_accepted_strings_come_back_unchanged_in_every_format(cli: Command) -> None:
    for number, name in enumerate(ACCEPTED):
        created = _create(cli, name, number)
        assert (created.exit_code, created.stderr) == (0, ""), ascii(name)
        assert created.json["name"] == _stored(name)
        assert cli("user", "show", f"u{number}@example.com", "-o", "json").json == created.json
    expected = [_stored(name) for name in ACCEPTED]

    def listed(format_name: str) -> str:
        return cli("user", "list", "--fields", "name", "-o", format_name).stdout

    assert [u["name"] for u in json.loads(listed("json"))] == expected
    assert [json.loads(line)["name"] for line in listed("jsonl").split("\n")[:-1]] == expected
    assert [u["name"] for u in yaml.safe_load(listed("yaml"))] == expected
    assert [row[0] for row in csv.reader(io.StringIO(listed("csv"), newline=""))][1:] == expected
    unescaped = [line.replace("\\\\", "\\") for line in listed("tsv").split("\n")[1:-1]]
    assert unescaped == expected


def test_a_table_shows_no_character_that_steers_the_terminal(cli: Command) -> None:
    for number, name in enumerate(ACCEPTED):
        _create(cli, name, number)
    table = cli("user", "list", "--fields", "name", "-o", "table").stdout
    steering = {c for c in table if unicodedata.category(c) in ("Cc", "Zl", "Zp")} - {"\n"}
    assert steering | ({"\u202e"} & set(table)) == set()
    assert "[red]alarm[/red]" in table
    assert ":smile:" in table


@pytest.mark.parametrize("name", REFUSED, ids=ascii)
def test_refused_strings_have_a_reason(cli: Command, name: str) -> None:
    done = _create(cli, name)
    assert (done.exit_code, done.stdout) == (2, "")
    error = json.loads(done.stderr)["error"]
    assert error["code"] == "invalid_input"
    assert "user name" in error["message"]
    assert error["hint"]
    assert error["message"].isprintable()
    assert cli("user", "list", "-o", "json").json == []


@pytest.mark.parametrize(
    "text",
    [
        "a\x00b",
        "a\nb",
        "half\ud800",
        "'; DROP TABLE users",
        "%",
        "x" * 5000,
        "a@b@c",
        "\u202e",
        "-1",
    ],
    ids=ascii,
)
def test_nasty_references_find_nothing_and_break_nothing(cli: Command, text: str) -> None:
    for words in (
        ("user", "show", "--", text),
        ("role", "show", "--", text),
        ("user", "list", f"--role={text}"),
        ("user", "history", "--", text),
        ("operation", "show", "--", text),
    ):
        done = cli(*words)
        assert done.exit_code in (2, 3), (words, done)
        assert done.stdout == ""
        assert done.stderr.count("\n") == 2
        assert "\x1b" not in done.stderr


def test_labels_take_the_same_strings(cli: Command) -> None:
    for name in ACCEPTED:
        created = cli("claim", "create", "-o", "json", "--", name)
        assert (created.exit_code, created.stderr) == (0, ""), ascii(name)
        assert created.json["description"] == _stored(name)
        assert cli("claim", "show", "-o", "json", "--", name).json == created.json


def test_claims_with_separators_survive_csv(cli: Command) -> None:
    claims = ["a;b", "c\\", "d\\;e", "f,g"]
    for claim in claims:
        cli("claim", "create", claim)
    _create(cli, "Ana")
    cli("user", "grant", "1", *claims)
    (row,) = csv.DictReader(io.StringIO(cli("user", "list", "-o", "csv").stdout))
    assert row["claims"] == "a\\;b;c\\\\;d\\\\\\;e;f,g"

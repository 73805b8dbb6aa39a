"""user import of files that are damaged, hostile, or not what they say they are."""

from __future__ import annotations

import codecs
import gzip
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import Command, process_environment

HEADER = b"name,email,role\n"
GOOD = b"A,a@example.com,member\n"


@pytest.fixture
def role(cli: Command) -> None:
    assert cli("role", "create", "member").exit_code == 0


def zstd(content: bytes) -> bytes:
    from backports import zstd as library

    return library.compress(content)


Bad = dict[str, tuple[bytes, str]]
"""What a file holds, and what is said of it."""


def bad_tables() -> Bad:
    return {
        "empty": (b"", "there is no header, or it is empty"),
        "repeated header": (b"name,email,email\nA,a@example.com,x\n", 'the column "email" twice'),
        "no e-mail": (b"name,role\nA,member\n", 'there is no column "email"'),
        "100,000 columns": (
            b"name,email" + b"," * 99_998 + b"\n",
            "the header names 100000 columns",
        ),
        "100,000 names of columns": (
            b",".join(b"c%d" % i for i in range(100_000)) + b"\n",
            "line 1 has more than 256 KiB",
        ),
        "100,000 cells": (
            HEADER + GOOD + b"," * 99_999 + b"x",
            "line 3: it has 100000 cells, the header has",
        ),
        "a 10 MB field": (
            HEADER + GOOD + b"A" * 10_000_000 + b",a@example.com,member\n",
            "line 3 has more than 256 KiB",
        ),
        "a 10 MB field of many lines": (
            HEADER + GOOD + b'"' + b"A\n" * 5_000_000 + b'",a@example.com,member\n',
            "a cell has more than 32,768 characters",
        ),
        "a row without end": (HEADER + b'"\n",' * 2_000_000, "its row has more than 256 KiB"),
        "a long cell": (HEADER + b'"' + b"A" * 40_000 + b'",a@example.com,member\n', "line 2 "),
        "an open quote": (HEADER + GOOD + b'"B,b@example.com,member\n', "cannot be read"),
        "lines that end with CR": (
            b"name,email,role\rA,a@example.com,member\r\rB,b@,member\r",
            'line 4: "b@" is not a valid',
        ),
        "\\. alone": (HEADER + GOOD + b"\\.\n", "line 3: it has 1 cells, the header has 3"),
        "one column": (b"email\n\\.\n", 'there is no column "name"'),
        "no role": (b"email,name\n" + b"x\n" * 99, 'there is no column "role"'),
        "bars": (b"name|email\nA|a@b.com\n", "--format csv --delimiter '|'"),
        "Excel": (b"PK\x03\x04" + bytes(99), "it is a zip archive, as .xlsx"),
        "SQLite": (b"SQLite format 3\0" + bytes(99), "it is a SQLite database"),
        "bzip2": (b"BZh91AY&SY" + bytes(range(99)), "compressed by bzip2"),
        "xz": (b"\xfd7zXZ\0" + bytes(range(99)), "compressed by xz"),
    }


def bad_objects() -> Bad:
    return {
        "100,000 keys": (
            b"[{}, {" + b", ".join(b'"%d": 1' % i for i in range(100_000)) + b"}]",
            "the item that begins on line 1 has more than 256 KiB",
        ),
        "100,000 objects with a key": (
            b"".join(b'{"%d": 1}\n' % i for i in range(100_000)),
            " keys",
        ),
        "a 10 MB field of json": (
            b'[{"email": "a@example.com"},\n{"name": "' + b"A" * 10_000_000 + b'"}]',
            "the item that begins on line 2 has more than 256 KiB",
        ),
        "lone surrogate": (
            b'{"name": "\\ud800", "email": "a@example.com", "role": "member"}\n',
            "line 1: ",
        ),
        "lone surrogates in an array": (
            b'[{},\n{"name": "B", "email": "b@c.com", "role": "\\udcff", "claims": ["\\udfff"]}]',
            'line 2: the claim "\\udfff" contains the control character U+DFFF',
        ),
        "NUL of json": (
            b'{"email": "a\\u0000@example.com", "name": "A", "role": "member"}',
            "line 1: ",
        ),
        "no JSON": (b'{"name": "A"\n', "line 1: it is no JSON"),
        "no JSON in the middle of an array": (
            b"[\n"
            + b'{"email": "a@example.com", "name": "A", "role": ""},\n' * 3_000
            + b'{"email": x},\n'
            + b"{},\n" * 99_999,
            "the item that begins on line 3002 is no JSON: Expecting value, on line 3002",
        ),
        "no object": (
            b'[1, {"email": "b@c.com", "name": "", "role": ""}]',
            "line 1: it is no object, but int",
        ),
        "an array that ends early": (b'[{"email": "a@example.com"}', "is missing behind the item"),
        "deep nesting": (b"[" * 100_000, "the item that begins on line 1 is no JSON"),
    }


def bad_bytes() -> Bad:
    return {
        "invalid UTF-8": (HEADER + GOOD + b"B\xff,b@example.com,member\n", "line 3: "),
        "NUL": (HEADER + b"A\0,a@example.com,member\n", "line 2: "),
        "NUL, and nothing else": (b"\0" * 5000, "unknown column"),
        "UTF-16 that does not say so": (
            (HEADER + GOOD).decode().encode("utf-16-le"),
            "like UTF-16",
        ),
        "UTF-16 the other way round": ((HEADER + GOOD).decode().encode("utf-16-be"), "like UTF-16"),
        "UTF-16 with half a surrogate": (
            b"\xff\xfe" + "name,email,role\n\ud800".encode("utf-16-le", "surrogatepass"),
            "is not text in",
        ),
        "UTF-16 cut in the middle": ("name,email,role\n".encode("utf-16")[:-1], "is not text in"),
    }


def bad_compression() -> Bad:
    return {
        "truncated gzip": (gzip.compress(HEADER + GOOD * 999)[:-12], "is cut off"),
        "gzip of which the beginning is left": (gzip.compress(HEADER)[:3], "is cut off"),
        "damaged gzip": (b"\x1f\x8b\x08\x00" + b"x" * 100, "is damaged"),
        "gzip with another checksum": (gzip.compress(HEADER + GOOD)[:-8] + bytes(8), "is damaged"),
        "gzip with something behind it": (gzip.compress(HEADER + GOOD) + GOOD, "is damaged"),
        "truncated zstd": (zstd(HEADER + os.urandom(9999).hex().encode())[:-5], "is cut off"),
        "zstd of which the beginning is left": (zstd(HEADER)[:4], "is cut off"),
        "zstd with something behind it": (zstd(HEADER + GOOD) + GOOD, "is damaged"),
        "a bomb of zeros": (gzip.compress(b"\0" * 50_000_000), "256 KiB"),
        "a bomb of zeros in zstd": (
            zstd(HEADER + b"\0" * 50_000_000),
            "line 2 has more than 256 KiB",
        ),
    }


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("bad", [bad_tables, bad_objects, bad_bytes, bad_compression])
def test_bad_files_are_clear_errors_and_change_nothing(
    cli: Command, bad: Callable[[], Bad]
) -> None:
    for name, (content, expected) in bad().items():
        Path("file").write_bytes(content)
        for words, stdin in ((("file",), b""), (("-", "--rejects", "rejects"), content)):
            done = cli("user", "import", *words, stdin=stdin)
            assert (name, done.exit_code, done.stdout) == (name, 2, "")
            assert expected in done.stderr, name
            assert "Traceback" not in done.stderr
            assert len(done.stderr) < 1_000
        assert (name, cli("user", "list", "-o", "json").json) == (name, [])
    assert len(cli("operation", "list", "-o", "json").json) == 1


ODD: list[Callable[[str], bytes]] = [
    lambda text: b"\xef\xbb\xbf" + text.encode(),
    lambda text: codecs.BOM_UTF16_LE + text.encode("utf-16-le"),
    lambda text: codecs.BOM_UTF16_BE + text.encode("utf-16-be"),
    lambda text: codecs.BOM_UTF32_LE + text.encode("utf-32-le"),
    lambda text: codecs.BOM_UTF32_BE + text.encode("utf-32-be"),
    lambda text: gzip.compress(text[:9].encode()) + gzip.compress(text[9:].encode()),
    lambda text: zstd(text[:9].encode()) + zstd(text[9:].encode()),
    lambda text: text.replace("\n", "\r\n").encode(),
    lambda text: text.replace("\n", "\r").encode(),
    lambda text: text.replace("\n", "\n\n").encode(),
]


@pytest.mark.usefixtures("role")
def test_what_looks_odd_and_is_not_bad(cli: Command) -> None:
    for number, encode in enumerate(ODD):
        email = f"{number}@example.com"
        Path("x.csv").write_bytes(encode(f"name,email,role\nÄ,{email},member\n"))
        done = cli("user", "import", "x.csv", "-o", "json")
        assert (number, done.exit_code, done.stderr) == (number, 0, "")
        assert cli("user", "show", email, "-o", "json").json["name"] == "Ä"


@pytest.mark.usefixtures("role")
def test_a_header_alone_is_no_row(cli: Command) -> None:
    done = cli("user", "import", "-", "-o", "json", stdin=HEADER)
    assert (done.exit_code, done.json["read"]) == (0, 0)
    refused = cli("user", "import", "-", stdin=b"name,email,phone\n")
    assert refused.exit_code == 2
    assert 'unknown column "phone"' in refused.stderr


def test_a_folder_and_a_missing_file_cannot_be_read(cli: Command) -> None:
    Path("folder").mkdir()
    for name, reason in (("folder", "Is a directory"), ("none.csv", "No such file or directory")):
        done = cli("user", "import", name)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr == f'error: "{name}" cannot be read: {reason}\n'


@pytest.mark.usefixtures("role")
def test_another_encoding_is_named(cli: Command) -> None:
    Path("x.csv").write_bytes("name,email,role\nÄ,a@example.com,member\n".encode("latin-1"))
    assert cli("user", "import", "x.csv").exit_code == 2
    assert cli("user", "import", "x.csv", "--encoding", "latin-1").exit_code == 0
    for name in ("utf-16-le", "utf-16-be"):
        Path("y.csv").write_bytes(f"name,email,role\nÄ,{name}@example.com,member\n".encode(name))
        assert cli("user", "import", "y.csv", "--encoding", name).exit_code == 0
        assert cli("user", "show", f"{name}@example.com", "-o", "json").json["name"] == "Ä"
        marked = codecs.BOM_UTF16_LE if name.endswith("le") else codecs.BOM_UTF16_BE
        Path("z.csv").write_bytes(marked + Path("y.csv").read_bytes())
        again = cli("user", "import", "z.csv", "--encoding", name, "--on-conflict", "skip")
        assert (again.exit_code, again.stderr) == (0, "")
    for name in ("klingon", "rot13", "hex", "base64", "undefined", "", "a\0b", "\udcff"):
        unknown = cli("user", "import", "x.csv", "--encoding", name)
        assert (unknown.exit_code, 'error: no encoding "' in unknown.stderr) == (2, True)
    for name in ("idna", "punycode", "utf-7", "unicode_escape", "raw_unicode_escape"):
        odd = cli("user", "import", "x.csv", "--encoding", name)
        assert (odd.exit_code in (2, 4), "Traceback" in odd.stderr) == (True, False), name


MISTAKEN: list[tuple[str, str, tuple[str, ...], str]] = [
    ("x.csv", "name\temail\n", (), "separated by tabs: pass --format tsv"),
    ("x.tsv", "name,email\n", (), "separated by commas: pass --format csv"),
    ("x.tsv", "name;email\n", (), "separated by semicolons: pass --format csv"),
    ("x.csv", "name|email\n", (), "--delimiter '|'"),
    ("x.csv", '[{"name": "A",\n"email": "b"}]', (), "looks like json\nhint: pass --format json"),
    ("x.csv", '[\n{\n"name": "A"}]', (), "looks like json\nhint: pass --format json"),
    ("x.csv", '{"name": "A", "email": "b"}\n', (), "looks like json\nhint: pass --format json"),
    ("x.tsv", "name;email\n", ("--delimiter", ";"), "--delimiter is for csv, and the file is read"),
    ("x.jsonl", "{}\n", ("--delimiter", ";"), "--delimiter is for csv, and the file is read as"),
    ("x.csv", "name\temail\n", ("--delimiter", "\\t"), "separated by tabs with --format tsv"),
    ("x.csv", "Name,E-Mail,Role,x\n", (), "--map name=Name --map email=E-Mail --map role=Role"),
    ("x.csv", "a,b\n", ("--map", "id=a"), "pass --with-ids as well"),
    ("x.csv", "a,b\n", ("--map", "id"), '"id" is not FIELD=COLUMN'),
    ("x.csv", "a,b\n", ("--map", "name=a", "--map", "name=b"), 'for name: "a" and "b"'),
    ("x.csv", "a,b\n", ("--map", "name=a", "--map", "email=a"), 'fields from the column "a"'),
    ("x.csv", HEADER.decode(), ("--ignore-column", "phnoe"), 'no column "phnoe", which --ignore'),
]
"""Names of files, how these begin, further words, and what is said of them."""


@pytest.mark.parametrize(("name", "content", "words", "told"), MISTAKEN)
def test_what_a_file_is_mistaken_for_is_told(
    cli: Command, name: str, content: str, words: tuple[str, ...], told: str
) -> None:
    Path(name).write_text(content)
    done = cli("user", "import", name, *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert told in done.stderr


@pytest.mark.usefixtures("role")
def test_what_spreadsheets_add_is_passed_over(cli: Command) -> None:
    content = "sep=;\r\nname;email;role\r\nA;a@example.com;member\r\n;;\r\n;;;;\r\n"
    Path("x.csv").write_bytes(b"\xef\xbb\xbf" + content.encode())
    done = cli("user", "import", "x.csv", "-o", "json")
    assert (done.exit_code, done.json["read"], done.json["created"]) == (0, 1, 1)


@pytest.mark.usefixtures("role")
def test_a_byte_of_another_encoding_is_told_with_the_way_out(cli: Command) -> None:
    Path("x.csv").write_bytes(HEADER + "José,a@example.com,member\n".encode("cp1252"))
    with Path("x.csv").open("ab") as file:
        file.write("A,b@example.com,gerência\n".encode("cp1252"))
    told = "which is no UTF-8 (name the encoding of the file with --encoding)"
    for words in ((), ("--create-roles",)):
        done = cli("user", "import", "x.csv", *words)
        assert done.stderr.splitlines()[1:3] == [
            f'  line 2: the name "Jos\\xe9" has the byte 0xE9, {told}',
            f'  line 3: the role "ger\\xeancia" has the byte 0xEA, {told}',
        ]


LISTS = b"[]," * 85_000
BOMBS: dict[str, list[tuple[bytes, int]]] = {
    "lines.csv": [(HEADER, 1), (b"x" * 99_999 + b"\n", 1_000)],
    "commas.csv": [(HEADER, 1), (b"," * 250_000 + b"x\n", 100)],
    "commas, and nothing else.csv": [(HEADER, 1), (b"," * 250_000 + b"\n", 100), (b"x\n", 1)],
    "short, then long.csv": [(HEADER, 1), (GOOD, 5_000), (b"10," * 85_000 + b"\n", 30)],
    "no end of a row.csv": [(HEADER, 1), (b'"\n",' * 1_000, 10_000)],
    "nothing in lists.jsonl": [(b'{"name": 0, "role": 0, "email": [' + LISTS + b"0]}\n", 20)],
    "nothing in lists.json": [
        (b"[", 1),
        (b'{"name": 0, "role": 0, "email": [' + LISTS + b"0]},\n", 20),
    ],
    "no end of an item.json": [(b'[{"email": [', 1), (b"[]," * 1_000, 30_000)],
}
"""The parts of files, and how often each of them follows."""


@pytest.mark.parametrize("name", BOMBS)
def test_memory_stays_bounded_by_a_bomb(migrated_sqlite_url: str, name: str) -> None:
    """Many megabytes in a small file, of which much more could be made."""
    with gzip.open(f"{name}.gz", "wb", compresslevel=1) as bomb:
        for part, times in BOMBS[name]:
            for _ in range(times):
                bomb.write(part)
    script = (
        "import os, re, sys; from usermgr.cli.app import run\n"
        "status = run(sys.argv[1:], environ=os.environ, stdin=sys.stdin, stdout=sys.stdout,"
        " stderr=sys.stderr)\n"
        "print(status, re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "user", "import", f"{name}.gz"],
        env={**process_environment(), "USERMGR_DATABASE_URL": migrated_sqlite_url},
        capture_output=True,
        text=True,
        check=True,
    )
    status, peak = done.stdout.split()
    assert (status, "line " in done.stderr) == ("2", True)
    assert int(peak) < 120 * 1024


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("on_error", ["fail", "skip"])
def test_a_large_file_that_is_damaged_at_its_end(cli: Command, on_error: str) -> None:
    """The process that reads it has ended before this one has stored what came first."""
    people = b"".join(b"%s,p%d@example.com,member\n" % (b"A" * 190, n) for n in range(12_000))
    Path("x.csv").write_bytes(HEADER + people + b'"B,b@example.com,member\n')
    done = cli("user", "import", "x.csv", "--on-error", on_error)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith("error: line 12002 cannot be read: unexpected end of data\n")
    assert cli("user", "list", "-o", "json").json == []

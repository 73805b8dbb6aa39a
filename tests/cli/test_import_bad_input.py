"""user import of files that are damaged, hostile, or not what they say they are."""

from __future__ import annotations

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


BAD: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "the first line is empty, or there is none"),
    "repeated header": (b"name,email,email\nA,a@example.com,x\n", 'the column "email" twice'),
    "no e-mail": (b"name,role\nA,member\n", 'there is no column "email"'),
    "100,000 columns": (b",".join(b"c%d" % i for i in range(20_000)) + b"\n", "20000 columns"),
    "a 10 MB field": (HEADER + b"A" * 10_000_000 + b",a@example.com,member\n", "256 KiB"),
    "a long cell": (HEADER + b'"' + b"A" * 40_000 + b'",a@example.com,member\n', "line 2 "),
    "invalid UTF-8": (HEADER + GOOD + b"B\xff,b@example.com,member\n", "line 3: "),
    "NUL": (HEADER + b"A\0,a@example.com,member\n", "line 2: "),
    "an open quote": (HEADER + GOOD + b'"B,b@example.com,member\n', "cannot be read"),
    "\\. alone": (HEADER + GOOD + b"\\.\n", "line 3: it has 1 cells, the header has 3"),
    "truncated gzip": (gzip.compress(HEADER + GOOD * 999)[:-12], "is cut off"),
    "damaged gzip": (b"\x1f\x8b\x08\x00" + b"x" * 100, "is damaged"),
    "truncated zstd": (zstd(HEADER + os.urandom(9999).hex().encode())[:-5], "is cut off"),
    "a bomb of zeros": (gzip.compress(b"\0" * 50_000_000), "256 KiB"),
    "UTF-16 cut in the middle": ("name,email,role\n".encode("utf-16")[:-1], "is not text in"),
    "lone surrogate": (
        b'{"name": "\\ud800", "email": "a@example.com", "role": "member"}\n',
        "line 1: ",
    ),
    "no JSON": (b'{"name": "A"\n', "line 1: it is no JSON"),
    "no object": (b'[1, {"email": "b@example.com"}]', "line 1: it is no object, but int"),
    "an array that ends early": (b'[{"email": "a@example.com"}', "is missing behind the item"),
    "deep nesting": (b"[" * 100_000, "the item that begins on line 1 is no JSON"),
}


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize("name", BAD)
def test_a_bad_file_is_a_clear_error_and_changes_nothing(cli: Command, name: str) -> None:
    content, expected = BAD[name]
    Path("file").write_bytes(content)
    for source, stdin in (("file", b""), ("-", content)):
        done = cli("user", "import", source, stdin=stdin)
        assert (done.exit_code, done.stdout) == (2, "")
        assert expected in done.stderr, done.stderr
        assert "Traceback" not in done.stderr
        assert len(done.stderr) < 1_000
    assert cli("user", "list", "-o", "json").json == []
    assert len(cli("operation", "list", "-o", "json").json) == 1


@pytest.mark.usefixtures("role")
@pytest.mark.parametrize(
    "encode",
    [
        lambda text: b"\xef\xbb\xbf" + text.encode(),
        lambda text: text.encode("utf-16"),
        lambda text: text.replace("\n", "\r\n").encode(),
        lambda text: text.replace("\n", "\r").encode(),
        lambda text: text.replace("\n", "\n\n").encode(),
    ],
)
def test_what_looks_odd_and_is_not_bad(cli: Command, encode: Callable[[str], bytes]) -> None:
    Path("x.csv").write_bytes(encode("name,email,role\nÄ,a@example.com,member\n"))
    done = cli("user", "import", "x.csv", "-o", "json")
    assert (done.exit_code, done.stderr) == (0, "")
    assert cli("user", "show", "a@example.com", "-o", "json").json["name"] == "Ä"


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
    unknown = cli("user", "import", "x.csv", "--encoding", "klingon")
    assert (unknown.exit_code, 'no encoding "klingon"' in unknown.stderr) == (2, True)


def test_memory_stays_bounded_by_a_bomb(migrated_sqlite_url: str) -> None:
    """200 MB of lines in 200 KB, of which every one is bad."""
    with gzip.open("bomb.csv.gz", "wb", compresslevel=1) as bomb:
        bomb.write(HEADER)
        for _ in range(200):
            bomb.write((b"x" * 99_999 + b"\n") * 10)
    script = (
        "import resource, sys; from usermgr.cli.app import run; import os\n"
        "status = run(sys.argv[1:], environ=os.environ, stdin=sys.stdin, stdout=sys.stdout,"
        " stderr=sys.stderr)\n"
        "import re; print(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "user", "import", "bomb.csv.gz"],
        env={**process_environment(), "USERMGR_DATABASE_URL": migrated_sqlite_url},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "line 2 " in done.stderr
    assert int(done.stdout.split()[-1]) < 200 * 1024


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

"""What the files that an import or an export writes stand beside, replace, or go through."""

from __future__ import annotations

import contextlib
import gzip
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.commands import Command, process_environment
from tests.support.imports import is_asleep, started, wait_until
from usermgr.urls import sqlite_path

ROWS = "name,email,role\nAna,ana@example.com,member\nBad,bad@,member\n"
REJECTED = "line,reason,name,email,role\n3,"
EXPORTED = "name,email,role,claims,active,created_at\n"


@pytest.fixture(autouse=True)
def role(cli: Command) -> None:
    assert cli("role", "create", "member").exit_code == 0
    Path("x.csv").write_text(ROWS)


@contextlib.contextmanager
def reader_of(fifo: str) -> Iterator[subprocess.Popen[bytes]]:
    os.mkfifo(fifo)
    with subprocess.Popen(["cat", fifo], stdout=subprocess.PIPE) as reader:
        yield reader
        reader.kill()


def output_of(reader: subprocess.Popen[bytes]) -> str:
    return reader.communicate(timeout=20)[0].decode()


def test_a_pipe_stays_one_and_hears_everything(cli_process: Command) -> None:
    with reader_of("rejects") as rejects, reader_of("results") as results:
        words = ("--on-error", "skip", "--rejects", "rejects", "--results", "results")
        assert cli_process("user", "import", "x.csv", *words).exit_code == 6
        assert output_of(rejects).startswith(REJECTED)
        assert output_of(results) == "email,id,outcome\nana@example.com,1,created\n"
    with reader_of("users") as users:
        assert cli_process("user", "export", "users").exit_code == 0
        assert output_of(users).startswith(EXPORTED + "Ana,")
    assert all(Path(name).is_fifo() for name in ("rejects", "results", "users"))


def test_a_device_stays_one(cli: Command) -> None:
    try:
        os.mknod("null", 0o20666, os.makedev(1, 3))
        Path("null").open("w").close()
    except PermissionError:
        pytest.skip("no devices of one's own here")
    for words in (("export", "null"), ("import", "x.csv", "--rejects", "null", "--results=null")):
        assert cli("user", *words).exit_code in (0, 2)
        assert Path("null").is_char_device()


def test_a_link_stays_one_and_what_it_leads_to_is_replaced(cli: Command) -> None:
    Path("folder").mkdir()
    Path("link").symlink_to("folder/users.csv")
    Path("folder/users.csv").write_text("old")
    Path("new").symlink_to("folder/new.csv")
    for name in ("link", "new"):
        assert cli("user", "export", name).exit_code == 0
        assert Path(name).is_symlink()
        assert Path(name).read_text() == EXPORTED
    assert len(list(Path("folder").iterdir())) == 2


def test_the_file_that_stdout_goes_to_is_written_in_order(database_url: str) -> None:
    words = ("user", "import", "x.csv", "--on-error", "skip", "--rejects")
    for rejects in ("/proc/self/fd/1", "out"):
        with Path("out").open("w") as out:
            done = subprocess.run(
                [sys.executable, "-m", "usermgr", *words, rejects, "--dry-run", "-o", "csv"],
                stdout=out,
                env={**process_environment(), "USERMGR_DATABASE_URL": database_url},
                check=False,
            )
        assert done.returncode == 6
        rejected, report = Path("out").read_text().split("read,created")
        assert rejected.startswith(REJECTED)
        assert report.count("\n") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--rejects", "./x.csv"), '--rejects "x.csv" is the input'),
        (("--results", "link"), '--results "link" is the input'),
        (("--rejects", "a", "--results", "f/../a"), "--rejects and --results name the same file"),
        (
            ("--results", "p", "--generate-passwords", "p"),
            "--results and --generate-passwords name the same file",
        ),
        (("--rejects", "-"), "--rejects cannot be -: stdout is for the report"),
        (("--results", "-"), "--results cannot be -: stdout is for the report"),
        (("--generate-passwords", "-"), "--generate-passwords cannot be -: stdout is for"),
    ],
)
def test_an_output_that_would_destroy_something_is_refused(
    cli: Command, words: tuple[str, ...], message: str
) -> None:
    Path("f").mkdir()
    Path("link").symlink_to("x.csv")
    before = sorted(Path().iterdir())
    done = cli("user", "import", "x.csv", *words)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"error: {message}")
    assert Path("x.csv").read_text() == ROWS
    assert sorted(Path().iterdir()) == before


def test_the_redirected_input_is_no_output(database_url: str) -> None:
    with (
        Path("x.csv").open() as stdin,
        started(database_url, "-", "--rejects", "x.csv", stdin=stdin.fileno()) as process,
    ):
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 2
    assert b'--rejects \\"x.csv\\" is the input' in stderr
    assert Path("x.csv").read_text() == ROWS


def test_the_database_is_no_output(cli: Command, migrated_sqlite_url: str) -> None:
    env = {"USERMGR_DATABASE_URL": migrated_sqlite_url}
    path = sqlite_path(migrated_sqlite_url)
    before = path.read_bytes()
    for words in (("export", str(path)), ("import", "x.csv", "--rejects", f"{path}-wal")):
        done = cli("user", *words, "--format", "csv", env=env)
        assert done.exit_code == 2
        assert "of the database" in done.stderr or "is the database" in done.stderr
    assert path.read_bytes() == before
    # Also before it is made.
    done = cli("user", "export", "usermgr.db", "--format", "csv", env={"USERMGR_DATABASE_URL": ""})
    assert (done.exit_code, Path("usermgr.db").exists()) == (2, False)


def test_devices_may_be_named_twice(cli: Command) -> None:
    os.mkfifo("both")
    with subprocess.Popen(["cat", "both"], stdout=subprocess.PIPE) as reader:
        done = cli("user", "import", "x.csv", "--rejects", "both", "--results", "both")
        assert done.exit_code == 2
        assert output_of(reader).startswith(REJECTED)


def test_a_kill_leaves_no_file(database_url: str) -> None:
    if not hasattr(os, "O_TMPFILE"):
        pytest.skip("no files without a name here")
    try:
        os.close(os.open(".", os.O_TMPFILE | os.O_RDWR))
    except OSError as error:
        pytest.skip(f"no files without a name here: {error}")
    os.mkfifo("fifo")
    before = {path.name for path in Path().iterdir()}
    files = ("--rejects", "r.csv", "--results", "o.csv", "--generate-passwords", "p.csv")
    with started(database_url, "fifo", *files) as process, Path("fifo").open("w") as writer:
        writer.write(ROWS)
        writer.flush()
        wait_until(is_asleep(process.pid))
        process.send_signal(signal.SIGKILL)
        process.wait(20)
    assert {path.name for path in Path().iterdir()} == before


@pytest.mark.parametrize("named", [True, False])
def test_files_appear_with_and_without_a_name_before(
    cli: Command, monkeypatch: pytest.MonkeyPatch, *, named: bool
) -> None:
    if named:  # As on file systems that know no files without one.
        monkeypatch.setattr("usermgr.formats.files._O_TMPFILE", None)
    words = ("--on-error", "skip", "--rejects", "r.csv", "--results", "o.jsonl.gz")
    for number in (1, 2):
        Path("x.csv").write_text(ROWS.replace("ana@", f"ana{number}@"))
        new = f"p{number}.csv"
        assert cli("user", "import", "x.csv", *words, "--generate-passwords", new).exit_code == 6
        assert Path("r.csv").read_text().startswith(REJECTED)
        told = gzip.decompress(Path("o.jsonl.gz").read_bytes()).decode()
        assert told.startswith(f'{{"email":"ana{number}@') or f'"ana{number}@' in told
        assert Path(new).read_text().count("\n") == 2
    found = {path.name for path in Path().iterdir() if not path.name.startswith("test.db")}
    assert found == {"x.csv", "r.csv", "o.jsonl.gz", "p1.csv", "p2.csv"}


@pytest.mark.parametrize("name", ["u.csv.gz", "u.jsonl.zst", "u.json.GZ", "gz.zst"])
def test_an_export_is_compressed_as_its_name_says(cli: Command, name: str) -> None:
    assert cli("user", "import", "x.csv", "--on-error", "skip").exit_code == 6
    assert cli("user", "export", name).exit_code == 0
    assert Path(name).read_bytes()[:2] in (b"\x1f\x8b", b"\x28\xb5")
    done = cli("user", "import", name, "--on-conflict", "update", "-o", "json")
    assert (done.exit_code, done.json["unchanged"]) == (0, 1)


@pytest.mark.parametrize("name", ["x.xlsx", "x.yaml", "x.csv.zip", "users.txt"])
def test_an_ending_that_names_no_format_is_refused(cli: Command, name: str) -> None:
    refused = cli("user", "export", name)
    assert (refused.exit_code, Path(name).exists()) == (2, False)
    assert "names no format of an export\nhint: choose one with --format: csv, " in refused.stderr
    assert cli("user", "export", name, "--format", "csv").exit_code == 0
    assert Path(name).read_text() == EXPORTED


def test_passwords_that_are_stored_stay_when_the_report_cannot_be_told(
    cli: Command, database_url: str
) -> None:
    Path("x.csv").write_text(ROWS.partition("Bad")[0])
    reader, writer = os.pipe()
    os.close(reader)
    done = subprocess.run(
        [sys.executable, "-m", "usermgr", "user", "import", "x.csv", "--generate-passwords", "p"],
        stdout=writer,
        env={**process_environment(), "USERMGR_DATABASE_URL": database_url},
        check=False,
    )
    os.close(writer)
    assert done.returncode == 0
    password = Path("p").read_text().split(",")[-1].strip()
    words = ("user", "verify-password", "ana@example.com", "--password-stdin")
    assert cli(*words, stdin=password).exit_code == 0


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("x" * 300, "File name too long"),
        ("loop", "Too many levels of symbolic links"),
        ("x.csv/x", "Not a directory"),
        ("none/x.csv", "No such file or directory"),
    ],
)
def test_a_name_that_cannot_be_is_told_before_anything_else(
    cli: Command, name: str, reason: str
) -> None:
    Path("loop").symlink_to("loop")
    done = cli("user", "import", "x.csv", "--on-error", "skip", "--results", name)
    assert (done.exit_code, done.stdout) == (2, "")
    assert f"cannot be made: {reason}\n" in done.stderr
    assert cli("user", "list", "-o", "json").json == []
    assert Path("loop").is_symlink()


def test_a_file_that_cannot_be_written_at_the_end_tells_that_the_rows_are_stored(
    cli: Command,
) -> None:
    os.mkfifo("fifo")
    leaving = threading.Thread(target=lambda: os.close(os.open("fifo", os.O_RDONLY)))
    leaving.start()
    done = cli("user", "import", "x.csv", "--on-error", "skip", "--results", "fifo")
    leaving.join()
    told = 'error: the file "fifo" cannot be written: Broken pipe\n'
    told += "hint: the import is stored: see usermgr operation list\n"
    assert (done.exit_code, done.stdout, done.stderr) == (5, "", told)
    assert len(cli("user", "list", "-o", "json").json) == 1

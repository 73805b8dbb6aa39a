"""At a terminal: tables, questions, passwords typed without an echo. Each run has a real pty."""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pexpect
import pytest

from tests.support.commands import process_environment, run_inside

PASSWORD = "correct horse battery"


class Terminal:
    """Starts usermgr at a terminal of its own, in one folder with the embedded database."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[pexpect.spawn[str]] = []

    def start(self, *words: str, columns: int = 120, **more: str) -> pexpect.spawn[str]:
        """The command, running; a line that it does not print within 30 seconds is an error."""
        child: pexpect.spawn[str] = pexpect.spawn(
            sys.executable,
            ["-m", "usermgr", *words],
            env={**process_environment(), "TERM": "xterm", "USERMGR_ACTOR": "tester", **more},
            cwd=str(self._folder),
            encoding="utf-8",
            timeout=30,
            dimensions=(40, columns),
        )
        self._started.append(child)
        return child

    def finish(self, child: pexpect.spawn[str]) -> tuple[int, str]:
        """The exit status of a command that needs no more answers, and what else it printed."""
        child.expect(pexpect.EOF)
        told = str(child.before)
        child.close()
        return int(child.exitstatus if child.exitstatus is not None else -1), told

    def run(self, *words: str, columns: int = 120) -> tuple[int, str]:
        """The exit status of a command that asks nothing, and what it printed."""
        return self.finish(self.start(*words, columns=columns))

    def close(self) -> None:
        """End what is still running."""
        for child in self._started:
            child.close(force=True)


@pytest.fixture
def terminal(tmp_path: Path, sqlite_template: Path) -> Iterator[Terminal]:
    shutil.copyfile(sqlite_template, tmp_path / "usermgr.db")
    ana = ("--name", "Ana", "--email", "ana@example.com", "--role", "admin", "--no-password")
    for words in (("role", "create", "admin"), ("user", "create", *ana)):
        assert run_inside(words, "", {}).exit_code == 0
    terminal = Terminal(tmp_path)
    yield terminal
    terminal.close()


def _users() -> int:
    return len(run_inside(("user", "list", "-o", "json"), "", {}).json)


def _verifies(password: str) -> int:
    words = ("user", "verify-password", "ana@example.com", "--password-stdin")
    return run_inside(words, password, {}).exit_code


def _plain(text: str) -> list[list[str]]:
    return [line.split() for line in re.sub(r"\x1b\[[0-9;]*m", "", text).splitlines() if line]


def test_a_list_is_a_table_and_one_thing_stands_on_lines_of_its_own(terminal: Terminal) -> None:
    status, listed = terminal.run("role", "list")
    header, row = ["id", "description", "protected", "users"], ["1", "admin", "false", "1"]
    assert (status, _plain(listed)) == (0, [header, row])
    status, shown = terminal.run("role", "show", "admin")
    assert (status, _plain(shown)) == (0, [list(pair) for pair in zip(header, row, strict=True)])


@pytest.mark.parametrize("columns", [80, 20])
def test_a_table_keeps_words_whole(terminal: Terminal, columns: int) -> None:
    name, email = "Maximiliana Featherstonehaugh", "m.featherstonehaugh@example.com"
    words = ("--name", name, "--email", email, "--role", "admin", "--no-password")
    assert run_inside(("user", "create", *words), "", {}).exit_code == 0

    status, listed = terminal.run("user", "list", columns=columns)

    lines = _plain(listed)
    assert status == 0
    assert [line for line in lines if email in line] != []
    if columns == 80:
        assert lines[0] == ["id", "name", "email", "role", "claims", "active"]
        assert ["Featherstonehaugh"] in lines
    else:
        assert lines[:3] == [["id", "1"], ["name", "Ana"], ["email", "ana@example.com"]]
        assert lines[6:8] == [["id", "2"], ["name", "Maximiliana"]]


@pytest.mark.parametrize("columns", [120, 80, 20])
def test_a_generated_password_is_highlighted_and_in_one_piece(
    terminal: Terminal, columns: int
) -> None:
    status, shown = terminal.run("user", "set-password", "1", columns=columns)

    found = re.search(r"generated_password\x1b\[0m +\x1b\[1;32m(\w{24}) *\x1b\[0m", shown)
    assert status == 0
    assert found is not None, shown
    assert _verifies(found[1]) == 0


@pytest.mark.parametrize(
    ("answer", "status", "left"),
    [("YES", 0, 0), ("", 130, 1), ("yep", 130, 1)],
)
def test_delete_says_who_it_is_and_takes_only_yes(
    terminal: Terminal, answer: str, status: int, left: int
) -> None:
    child = terminal.start("user", "delete", "ANA@example.com")
    child.expect_exact("Delete user 1, Ana <ana@example.com>, admin? [y/N] ")
    child.sendline(answer)

    ended, told = terminal.finish(child)

    assert (ended, _users()) == (status, left)
    assert ("error: declined; nothing was changed" in told) == bool(left)


def test_delete_says_who_several_are(terminal: Terminal) -> None:
    bruno = ("--name", "Bruno", "--email", "bruno@example.com", "--role", "admin", "--no-password")
    assert run_inside(("user", "create", *bruno), "", {}).exit_code == 0
    child = terminal.start("user", "delete", "2", "ana@example.com", "1")
    child.expect_exact(
        "user 2, Bruno <bruno@example.com>, admin\r\n"
        "user 1, Ana <ana@example.com>, admin\r\n"
        "Delete these 2 users? [y/N] "
    )
    child.sendline("y")

    assert (terminal.finish(child)[0], _users()) == (0, 0)


def test_delete_does_not_ask_about_somebody_who_does_not_exist(terminal: Terminal) -> None:
    status, told = terminal.run("user", "delete", "1", "nobody@example.com")

    assert (status, _users()) == (3, 1)
    assert "[y/N]" not in told


@pytest.mark.parametrize(("answer", "status"), [("y", 0), ("", 130)])
def test_erase_says_who_it_is_and_that_nothing_brings_it_back(
    terminal: Terminal, answer: str, status: int
) -> None:
    child = terminal.start("user", "erase", "ANA@example.com")
    child.expect_exact(
        "Erase user 1, Ana <ana@example.com>, from the users, the history and the recycle bin?"
        " This CANNOT BE UNDONE, not by undo and not by restore. [y/N] "
    )
    child.sendline(answer)

    ended, told = terminal.finish(child)

    assert ended == status
    assert ("error: declined; nothing was changed" in told) == bool(status)
    left = run_inside(("user", "show", "1", "-o", "json"), "", {}).json["name"]
    assert left == ("Ana" if status else "erased")


def test_erase_says_that_somebody_is_deleted(terminal: Terminal) -> None:
    assert run_inside(("user", "delete", "1", "--yes"), "", {}).exit_code == 0
    child = terminal.start("user", "erase", "ana@example.com")
    child.expect_exact("Erase the deleted user 1 from the users, the history and ")
    child.sendline("y")
    assert terminal.finish(child)[0] == 0
    assert "ana@" not in run_inside(("user", "history", "1", "-o", "json"), "", {}).stdout


def test_ctrl_c_at_a_question_changes_nothing(terminal: Terminal) -> None:
    child = terminal.start("user", "delete", "1")
    child.expect_exact("[y/N] ")
    child.sendintr()

    status, told = terminal.finish(child)

    assert (status, _users()) == (130, 1)
    assert "error: interrupted" in told
    assert "Traceback" not in told


def test_ctrl_d_at_a_question_changes_nothing(terminal: Terminal) -> None:
    child = terminal.start("user", "delete", "1")
    child.expect_exact("[y/N] ")
    child.sendeof()

    status, _ = terminal.finish(child)

    assert (status, _users()) == (130, 1)


def test_yes_answers_the_question(terminal: Terminal) -> None:
    status, told = terminal.run("user", "delete", "1", "--yes")

    assert (status, _users()) == (0, 0)
    assert "[y/N]" not in told


ANSWERS = pytest.mark.parametrize(("answer", "status"), [("y", 0), ("n", 130)])


@ANSWERS
def test_a_bulk_verb_says_how_many_it_would_change(
    terminal: Terminal, answer: str, status: int
) -> None:
    child = terminal.start("user", "disable", "--where-role", "admin", USERMGR_CONFIRM_ABOVE="0")
    child.expect_exact("Disable 1 user? [y/N] ")
    child.sendline(answer)

    ended, told = terminal.finish(child)

    (user,) = run_inside(("user", "list", "-o", "json"), "", {}).json
    assert (ended, user["active"]) == (status, bool(status))
    assert ("declined; nothing was changed" in told) == bool(status)


@ANSWERS
def test_an_import_says_how_many_it_would_change(
    terminal: Terminal, tmp_path: Path, answer: str, status: int
) -> None:
    (tmp_path / "x.csv").write_text("email,name,role\nana@example.com,New,admin\nx@y.org,X,admin\n")
    words = ("user", "import", "x.csv", "--on-conflict", "update", "--results", "r.csv")
    child = terminal.start(*words, USERMGR_CONFIRM_ABOVE="0")
    child.expect_exact("Change 1 user? [y/N] ")
    # Nobody waits for the answer: others write meanwhile.
    assert run_inside(("role", "create", "meanwhile"), "", {}).exit_code == 0
    child.sendline(answer)

    ended, told = terminal.finish(child)

    names = [user["name"] for user in run_inside(("user", "list", "-o", "json"), "", {}).json]
    assert (ended, names) == (status, ["Ana"] if status else ["New", "X"])
    assert ("declined; nothing was changed" in told) == bool(status)
    assert (tmp_path / "r.csv").exists() != bool(status)
    assert sorted(path.name for path in tmp_path.glob(".*")) == []


def test_more_than_were_confirmed_are_asked_about_again(terminal: Terminal) -> None:
    child = terminal.start("user", "disable", "--where-role", "admin", USERMGR_CONFIRM_ABOVE="0")
    child.expect_exact("Disable 1 user? [y/N] ")
    bruno = ("--name", "Bruno", "--email", "bruno@example.com", "--role", "admin", "--no-password")
    assert run_inside(("user", "create", *bruno), "", {}).exit_code == 0
    child.sendline("y")
    child.expect_exact("Disable 2 users? [y/N] ")
    child.sendline("y")

    assert terminal.finish(child)[0] == 0
    users = run_inside(("user", "list", "-o", "json"), "", {}).json
    assert [user["active"] for user in users] == [False, False]


def test_a_password_is_typed_twice_and_never_echoed(terminal: Terminal) -> None:
    child = terminal.start("user", "set-password", "1", "--password-prompt", "-o", "json")
    for question in ("Password: ", "Repeat it: "):
        child.expect_exact(question)
        child.sendline(PASSWORD)

    status, told = terminal.finish(child)

    assert status == 0
    assert PASSWORD not in told
    assert _verifies(PASSWORD) == 0


def test_two_different_entries_change_nothing(terminal: Terminal) -> None:
    child = terminal.start("user", "set-password", "1", "--password-prompt")
    child.expect_exact("Password: ")
    child.sendline(PASSWORD)
    child.expect_exact("Repeat it: ")
    child.sendline(PASSWORD + "x")

    status, told = terminal.finish(child)

    assert status == 2
    assert "error: the two passwords differ" in told
    assert _verifies(PASSWORD) == 8


@pytest.mark.parametrize("end", ["sendintr", "sendeof"])
def test_a_password_that_is_not_typed_changes_nothing(terminal: Terminal, end: str) -> None:
    child = terminal.start("user", "set-password", "1", "--password-prompt")
    child.expect_exact("Password: ")
    getattr(child, end)()

    status, told = terminal.finish(child)

    assert status == 130
    assert "error: interrupted" in told
    assert "Traceback" not in told


@pytest.mark.parametrize(("typed", "status"), [(PASSWORD, 0), ("another one", 8)])
@pytest.mark.parametrize("option", [(), ("--password-stdin",)])
def test_verify_asks_once(
    terminal: Terminal, typed: str, status: int, option: tuple[str, ...]
) -> None:
    set_words = ("user", "set-password", "1", "--password-stdin")
    assert run_inside(set_words, PASSWORD, {}).exit_code == 0
    child = terminal.start("user", "verify-password", "1", *option)
    child.expect_exact("Password: ")
    child.sendline(typed)

    ended, told = terminal.finish(child)

    assert ended == status
    assert typed not in told


def test_seeding_shows_its_progress_on_a_terminal(terminal: Terminal) -> None:
    status, told = terminal.run("seed", "--users", "1500")

    assert status == 0
    assert "seeding users" in told
    assert "1,500/1,500" in told


def _left(told: str) -> list[str]:
    """The lines that stay on the screen: what was erased is not one of them."""
    told = re.sub(r"[^\n]*\n(\x1b\[\?25h)?\r?\x1b\[1A\x1b\[2K", "", told)
    told = re.sub(r"[^\n]*\x1b\[2K|\x1b\[[0-9;?]*[A-Za-z]|\r", "", told)
    return told.split("\n")


def test_an_import_leaves_its_report_and_not_its_progress(
    terminal: Terminal, tmp_path: Path
) -> None:
    people = "".join(f"P,p{n}@example.com,admin,password of {n} here\n" for n in range(40))
    (tmp_path / "x.csv").write_text("name,email,role,password\n" + people)

    status, told = terminal.run("user", "import", "x.csv")

    assert status == 0
    assert re.search(r"hashing passwords .*/\d+ +.*\d/s", told)
    assert re.search(r"K40 rows .*kB", told)
    assert re.fullmatch("read +40 *", _left(told)[0])

    (tmp_path / "bad.csv").write_text("name,email,role\nX,x@,admin\n")
    status, told = terminal.run("user", "import", "bad.csv")
    assert status == 2
    assert _left(told)[0] == "error: 1 of 1 rows are bad: nothing was stored"


def test_an_export_shows_rows_beside_a_file_only(terminal: Terminal) -> None:
    status, told = terminal.run("user", "export", "x.csv")
    assert (status, _left(told)[0]) == (0, "note: exported 1 user")
    assert re.search(r"K1 rows .*0:00:00", told)
    assert "?" not in re.sub(r"\x1b\[\?", "", told)

    status, told = terminal.run("user", "export")
    assert (status, told[:5]) == (0, "name,")
    assert " rows" not in told


def test_seals_show_rows(terminal: Terminal) -> None:
    for words in (("seal",), ("verify",), ("export", "x.jsonl")):
        status, told = terminal.run("audit", *words)
        assert status == 0
        assert re.search(r"rows .*0:00:00", told)
        assert "bytes" not in told
        assert "?" not in re.sub(r"\x1b\[\?", "", told)


def test_strengthening_many_is_asked_about(terminal: Terminal, tmp_path: Path) -> None:
    digest = "{SHA}5en6G6MezRroT3XKqkdPOmY/BfQ="
    lines = [f"{number}@example.com,N,admin,{digest}\n" for number in range(101)]
    (tmp_path / "users.csv").write_text("email,name,role,password_hash\n" + "".join(lines))
    assert terminal.run("user", "import", "users.csv", "-q")[0] == 0

    for answer, status, left in (("n", 130, 101), ("y", 0, 0)):
        child = terminal.start("password", "strengthen", "--fields", "strengthened")
        child.expect(
            r"Wrap the password hashes of 101 users inside argon2id, in about \d+:\d\d minutes\? "
            r"Only a new password takes that back. \[y/N\] "
        )
        child.sendline(answer)
        assert terminal.finish(child)[0] == status
        told = terminal.run("password", "strengthen", "--dry-run", "--fields", "found")[1]
        assert _plain(told) == [["found", str(left)]]

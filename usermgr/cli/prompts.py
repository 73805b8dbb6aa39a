"""Questions to the person at the terminal, and passwords from a pipe, a file or a prompt."""

from __future__ import annotations

import select
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from usermgr.errors import Cancelled, InvalidInput

MAX_PASSWORD_BYTES = 64 * 1024


class Prompts:
    """Asks on the terminal; ``ask`` writes a question to stderr, so that stdout stays data."""

    def __init__(self, stdin: TextIO, ask: Callable[[str], None], *, assume_yes: bool) -> None:
        self._stdin, self._ask = stdin, ask
        self.assume_yes = assume_yes

    @property
    def on_terminal(self) -> bool:
        """Whether there is somebody to ask."""
        return self._stdin.isatty()

    def must_confirm(self, what: str = "") -> bool:
        """Whether the person has to confirm, because --yes was not given.

        Raises InvalidInput, which tells ``what`` the command would do, when there is no terminal to
        ask on.
        """
        if self.assume_yes:
            return False
        if not self._stdin.isatty():
            raise InvalidInput(
                f"this command {what or 'asks for confirmation'}, and there is no terminal to ask"
                " on",
                hint="pass --yes to confirm",
            )
        return True

    def confirm(self, question: str) -> None:
        """Ask before something that cannot easily be taken back.

        Raises InvalidInput when there is no terminal to ask on and no --yes, Cancelled when the
        answer is anything but yes.
        """
        if self.must_confirm():
            self._require_yes(question)

    def confirm_many(self, what: str, number: int) -> None:
        """Ask before that many users are changed: ``what`` is a verb with them, such as "disable".

        Raises InvalidInput, which tells the number, when there is no terminal to ask on, and
        Cancelled when the answer is anything but yes.
        """
        change = f"{what} {number} {'user' if number == 1 else 'users'}"
        if not self._stdin.isatty():
            raise InvalidInput(
                f"this command would {change}: it asks for confirmation, and there is no terminal "
                "to ask on",
                hint="pass --yes to confirm; USERMGR_CONFIRM_ABOVE says how many need it",
                details={"users": number},
            )
        self._require_yes(f"{change[:1].upper()}{change[1:]}?")

    def _require_yes(self, question: str) -> None:
        self._ask(f"{question} [y/N] ")
        self._wait_for_answer()
        if self._stdin.readline().strip().lower() not in ("y", "yes"):
            raise Cancelled("declined; nothing was changed")

    def _wait_for_answer(self) -> None:
        # Of a Ctrl-C that comes just before a read begins, Python thinks when the read has ended.
        while not select.select([self._stdin], [], [], 0.2)[0]:
            pass

    def ask_password(self, *, twice: bool) -> str:
        """A password typed without an echo, asked for on the terminal itself.

        Raises InvalidInput when the two entries differ, Cancelled when none is typed.
        """
        if not self._stdin.isatty():
            raise InvalidInput(
                "there is no terminal to ask for the password on",
                hint="pass it through a pipe with --password-stdin",
            )
        import getpass

        try:
            password = getpass.getpass("Password: ")
            repeated = getpass.getpass("Repeat it: ") if twice else password
        except EOFError as error:
            raise Cancelled("interrupted; nothing was changed") from error
        if repeated != password:
            raise InvalidInput("the two passwords differ", hint="try again")
        return password

    def read_password(self) -> str:
        """The password on stdin: one line, whose end is not part of it."""
        if self._stdin.isatty():
            return self.ask_password(twice=False)
        return _one_line(self._stdin.buffer.read(MAX_PASSWORD_BYTES), "stdin")


def read_password_file(path: Path) -> str:
    """The password in a file: one line, whose end is not part of it."""
    try:
        with path.open("rb") as file:
            return _one_line(file.read(MAX_PASSWORD_BYTES), f'"{path}"')
    except OSError as error:
        raise InvalidInput(
            f'the password file "{path}" cannot be read: {error.strerror}',
            hint="check its name, and that it is a file you may read",
        ) from error


def _one_line(data: bytes, where: str) -> str:
    try:
        # Editors put a byte-order mark before a text, and PowerShell into a pipe.
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInput(f"the password from {where} is not UTF-8 text") from error
    text = text.removesuffix("\n").removesuffix("\r")
    if not text:
        raise InvalidInput(f"the password from {where} is empty", hint="write it on one line")
    if "\n" in text or "\r" in text:
        raise InvalidInput(
            f"the password from {where} has more than one line", hint="write it on one line"
        )
    return text

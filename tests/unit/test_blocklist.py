"""The blocklist: whole passwords, in any case and Unicode form, in files of any size."""

from __future__ import annotations

import pickle
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from usermgr import blocklist
from usermgr.blocklist import Blocklist
from usermgr.errors import InvalidInput

LINES = ["correct horse battery", "Senha Muito Secreta", "São Paulo Futebol", "straße nach Köln"]


def _list(content: str | bytes, min_length: int = 8) -> Blocklist:
    path = Path("blocked.txt")
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return Blocklist(path, min_length=min_length)


@pytest.mark.parametrize(
    "content",
    [
        "\n".join(LINES),
        "\n".join(LINES) + "\n",
        "\ufeff" + "\r\n".join(LINES) + "\r\n",
        "\ufeff" + "\r\n".join(LINES),
        "\n\n" + "\n\n".join(LINES) + "\n\n",
        b"caf\xe9 in another encoding\n" + "\n".join(LINES).encode(),
        b"x" * 3_000_000 + b"\n" + "\n".join(LINES).encode(),
    ],
)
def test_whole_lines_in_any_case_and_form(content: str | bytes) -> None:
    blocked = _list(content)
    for line in LINES:
        for text in (line, line.upper(), unicodedata.normalize("NFD", line)):
            assert blocked.holds(text)
    others = [LINES[0] + "y", LINES[0][1:], "\n".join(LINES[:2]), "", "another password"]
    assert not any(map(blocked.holds, others))
    assert blocked.find([*LINES, *others]) == set(LINES)
    many = [f"password number {number}" for number in range(20)]
    assert blocked.find([*LINES, *many, *others]) == set(LINES)
    assert pickle.loads(pickle.dumps(blocked)).find([*LINES, *many]) == set(LINES)  # noqa: S301


def test_a_letter_that_folds_to_ascii() -> None:
    assert _list("273 \u212aelvin degrees").holds("273 kelvin degrees")
    assert _list("273 kelvin degrees").holds("273 \u212aelvin degrees")


@given(st.lists(st.text(st.characters(exclude_characters="\r\n"), min_size=8), max_size=30))
def test_one_by_one_and_all_at_once(lines: list[str]) -> None:
    blocked = _list("\n".join(line for line in lines[::2] if line.isprintable()))
    held = {line for line in lines if blocked.holds(line)}
    assert held >= {line for line in lines[::2] if line.isprintable()}
    assert blocked.find([*lines, *map(str, range(20))]) == held


def test_pieces_end_between_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(blocklist, "_PIECE", 64)
    blocked = _list("\n".join(f"password number {number}" for number in range(100)))
    wanted = [f"Password Number {number}" for number in range(100)]
    assert all(map(blocked.holds, wanted))
    assert blocked.find([*wanted, "password number 100"]) == set(wanted)
    assert blocked.lines() == 100


@pytest.mark.parametrize("made", ["missing", "folder"])
def test_a_file_that_cannot_be_read(tmp_path: Path, made: str) -> None:
    path = tmp_path / "list"
    if made == "folder":
        path.mkdir()
    with pytest.raises(InvalidInput) as refused:
        Blocklist(path, min_length=8).holds("correct horse battery")
    assert str(path) in refused.value.message
    assert refused.value.hint == "correct USERMGR_PASSWORD_BLOCKLIST, or unset it"

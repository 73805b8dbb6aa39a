"""The security page names tests as proofs: each of them exists."""

from __future__ import annotations

import re

import pytest

from tests.support.commands import PROJECT

PAGE = (PROJECT / "docs" / "security.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| (\d+\.\d+\.\d+(?:, \d+\.\d+\.\d+)*) \|(.*)\|$", PAGE, re.MULTILINE)
NAMED = sorted(set(re.findall(r"`([\w/]+\.py)::(\w+)`", PAGE)))


@pytest.mark.parametrize(("file", "test"), NAMED, ids="::".join)
def test_a_test_that_is_named_exists(file: str, test: str) -> None:
    source = (PROJECT / "tests" / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {test}\(", source, re.MULTILINE)


def test_every_item_has_a_level_a_status_and_a_proof() -> None:
    assert len(ROWS) > 40
    for items, rest in ROWS:
        level, meaning, status, proof = (cell.strip() for cell in rest.split(" | "))
        assert level in ("1", "2", "3"), items
        assert meaning, items
        kind = status.partition(":")[0]
        assert kind in ("yes", "partly", "outside", "no"), items
        assert proof or kind in ("outside", "no"), items
        assert not proof or "::" in proof, items


def test_the_items_are_in_order_and_named_once() -> None:
    named = [item for items, _ in ROWS for item in items.split(", ")]
    numbers = [tuple(map(int, item.split("."))) for item in named]
    assert numbers == sorted(set(numbers))

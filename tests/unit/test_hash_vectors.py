"""Each format is verified as the project that makes it publishes it."""

from __future__ import annotations

import unicodedata

import pytest

from tests.support.published_hashes import PUBLISHED
from usermgr.hash_limits import DEFAULT_COSTS
from usermgr.hashes import hash_problem
from usermgr.hashes.deriving import derive, matches
from usermgr.hashes.forms import FORMATS, format_of
from usermgr.hashes.reading import read
from usermgr.hashes.recipes import Recipe
from usermgr.hashes.strength import Strength, assess
from usermgr.passwords import verify_password, wrap_hash

VECTORS = [
    (form, password if isinstance(password, bytes) else password.encode(), stored)
    for form, vectors in PUBLISHED.items()
    for password, stored in vectors
]


def test_every_format_has_vectors() -> None:
    assert list(PUBLISHED) == list(FORMATS)
    assert [form for form in PUBLISHED if not PUBLISHED[form]] == ["none"]


@pytest.mark.parametrize(("form", "password", "stored"), VECTORS)
def test_a_published_hash_is_of_its_password_only(form: str, password: bytes, stored: str) -> None:
    assert format_of(stored) == form
    found = read(stored)
    assert found is not None
    assert matches(found, password)
    assert not matches(found, password[:-1] + b"?")


FIRST = {form: (password, stored) for form, password, stored in reversed(VECTORS)}


@pytest.mark.parametrize("form", [form for form in FIRST if form != "wrapped"])
def test_a_wrapped_hash_is_of_the_same_password(form: str) -> None:
    password, stored = FIRST[form]
    wrapped = wrap_hash(stored)
    assert wrapped is not None
    assert format_of(wrapped) == "wrapped"
    assert hash_problem(wrapped) is None
    found, before = read(wrapped), read(stored)
    assert found is not None
    assert before is not None
    assert found.recipe == Recipe.parse(before.recipe.text()) == before.recipe
    assert matches(found, password)
    assert not matches(found, b"other")
    assert wrap_hash(wrapped) is None
    assert assess(wrapped, DEFAULT_COSTS).strength is Strength.WRAPPED
    for secret in (before.digest.hex(), stored.rpartition("$")[2]):
        assert len(secret) < 8 or secret not in wrapped


def test_a_password_that_another_program_did_not_normalise_is_known_again() -> None:
    decomposed = unicodedata.normalize("NFD", "coração e pulmão")
    recipe = Recipe("digest", {"d": "sha1"}, b"salt")
    for made_of in (decomposed, unicodedata.normalize("NFC", decomposed)):
        digest = derive(recipe, made_of.encode())
        stored = "{SHA}" + digest.hex() if not recipe.salt else _ssha(digest, recipe.salt)
        assert verify_password(stored, decomposed)
    assert not verify_password(_ssha(derive(recipe, decomposed.encode()), b"salt"), "coração")


def _ssha(digest: bytes, salt: bytes) -> str:
    import base64

    return "{SSHA}" + base64.b64encode(digest + salt).decode()


@pytest.mark.parametrize(
    "stored",
    [
        "$scrypt$ln=0,r=0,p=0$TmFDbA$/bq+HJ00cgB4VucZDQHp",
        "scrypt:1000:8:1$salt$" + "ab" * 32,
        "$argon2id$v=19$m=0,t=9999999999,p=0$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y",
        "$argon2id$v=77$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y",
        "$argon2id$v=19$m=8,t=1,p=1$YQ$CTFhFdXPJO1aFaMaO6Mm5c8y",
        "pbkdf2_sha256$0$seasalt$8xBlGd3jVgvJ+92hWPxi5ww0uuAuAnKgC45eudxro7c=",
        "$pbkdf2-sha256$i=1,l=32$c2FsdA$abcde",
        "$2b$00$" + "a" * 53,
        "$6$rounds=1$salt$" + "a" * 86,
        "{SSHA}" + "=" * 30,
        "$usermgr-wrap$digest$d=sha1,s=a$argon2id$v=19$m=8,t=1,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMa",
    ],
)
def test_parameters_that_make_no_sense_match_nothing(stored: str) -> None:
    for password in ("", "secret", stored):
        assert verify_password(stored, password) is False


@pytest.mark.parametrize(
    "recipe",
    [
        "digest$d=shake_128,s=",
        "digest$d=sha1",
        "digest$s=,d=sha1",
        "nothing$s=",
        "pbkdf2$d=sha1,i=1,l=129,s=",
        "pbkdf2$d=sha1,i=1,l=99999999999,s=",
        "pbkdf2$d=sha1,i=x,l=20,s=",
        "argon2$y=x,v=19,m=8,t=1,p=1,l=16,s=c29tZXNhbHQ",
        "",
    ],
)
def test_what_is_no_recipe_is_not_recognised(recipe: str) -> None:
    around = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$CTFhFdXPJO1aFaMaO6Mm5c8y7cJHAph8"
    stored = f"$usermgr-wrap${recipe}{around}"
    assert hash_problem(stored) == "the password hash is in no format that is recognised"
    assert read(stored) is None

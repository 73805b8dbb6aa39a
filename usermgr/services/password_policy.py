"""The rules for passwords that are in force, as they are shown."""

from __future__ import annotations

from usermgr.config import Settings
from usermgr.hash_limits import LANES_MAX, MEMORY_MAX, WORK_MAX
from usermgr.hashes.caps import EXPONENT_MAX, ROUNDS_MAX
from usermgr.passwords import GENERATED_LENGTH, MAX_LENGTH
from usermgr.records import PasswordRule

NIST = "NIST SP 800-63B-4"
OWASP = "OWASP Password Storage Cheat Sheet"


def password_rules(settings: Settings) -> list[PasswordRule]:
    """Every rule. Raises InvalidInput for a blocklist that cannot be read."""
    return [*_choosing(settings), *_keeping(settings)]


def _choosing(settings: Settings) -> list[PasswordRule]:
    blocklist = settings.blocklist
    blocked = f"{blocklist.lines()} lines of {blocklist.path}" if blocklist else "none"
    source = settings.sources.get
    return [
        PasswordRule(
            "min_length",
            str(settings.password_min_length),
            source("password_min_length", "default"),
            "characters at least; a repeated sequence counts once",
        ),
        PasswordRule("max_length", str(MAX_LENGTH), NIST, "characters at most"),
        PasswordRule(
            "blocklist",
            blocked,
            source("password_blocklist", "default"),
            "passwords that nobody may use: compared as a whole, in any case and Unicode form",
        ),
        PasswordRule("own_words", "refused", NIST, "made of the user's own name and e-mail only"),
        PasswordRule("composition", "none", NIST, "no rules about kinds of characters"),
        PasswordRule("expiry", "none", NIST, "no password has to be changed after a time"),
        PasswordRule("normalisation", "NFC", NIST, "before hashing; nothing is cut off"),
        PasswordRule(
            "generated", str(GENERATED_LENGTH), "built in", "characters, of 139 random bits"
        ),
    ]


def _keeping(settings: Settings) -> list[PasswordRule]:
    names = ("argon2_memory", "argon2_passes", "argon2_lanes")
    sources = dict.fromkeys(settings.sources.get(name, "default") for name in names)
    caps = (
        f"bcrypt cost {EXPONENT_MAX}, {ROUNDS_MAX} rounds, {MEMORY_MAX >> 20} MiB, "
        f"{WORK_MAX >> 20} MiB times passes, {LANES_MAX} lanes"
    )
    return [
        PasswordRule(
            "hash",
            f"argon2id {settings.hash_costs}",
            ", ".join(sources),
            "how new passwords are kept: KiB of memory, passes, lanes",
        ),
        PasswordRule("weak", "replaced", OWASP, "a weaker hash, at the next right password"),
        PasswordRule("caps", caps, "built in", "a hash that asks for more is not verified"),
    ]

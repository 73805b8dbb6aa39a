"""If-Match (RFC 9110, 13.1.1): a change for those who know what they change."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Final

from usermgr.api.problems import Problem

_TAG: Final = r'(?:W/)?"[\x21\x23-\x7e\x80-\xff]*"'
_TAGS: Final = re.compile(rf"\s*{_TAG}\s*(?:,\s*{_TAG}\s*)*")


def check(given: Sequence[str], tag: Callable[[], str], *, required: bool) -> None:
    """Raise the problem of a header that does not hold the present tag, or of none if one is
    ``required``. A weak tag is never the present one."""
    if not given:
        if required:
            raise Problem(428, "If-Match is missing", hint="send the ETag of what is to be changed")
        return
    wanted = ",".join(given).strip()
    if wanted == "*":
        tag()
        return
    if not _TAGS.fullmatch(wanted):
        raise Problem(400, "If-Match is no list of entity tags", hint='write If-Match: "TAG"')
    present = tag()
    if present not in re.findall(_TAG, wanted):
        headers = {"ETag": present}
        raise Problem(412, f"it was changed meanwhile: it has the tag {present}", headers=headers)

"""Undo: what an operation did is done backwards, as an operation of its own.

Users are undone set by set (``db.undoing``), however many they are; roles and claims are few.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

from sqlalchemy import Connection, Row, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import aliased

from usermgr.db import undoing
from usermgr.db.engine import Operation
from usermgr.db.errors import referred_to
from usermgr.db.models import changes, operations
from usermgr.errors import Conflict, Forbidden, InvalidInput, NotFound
from usermgr.names import MAX_ID, parse_id, visible
from usermgr.records import LeftAlone, UndoReport
from usermgr.services.claims import CLAIMS
from usermgr.services.labels import Labels, image
from usermgr.services.roles import ROLES

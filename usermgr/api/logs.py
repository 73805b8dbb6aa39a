"""The log: JSON, one object a line, on stderr; ids and types of errors, and no other data."""

from __future__ import annotations

import json
import logging
import traceback
from datetime import UTC, datetime
from typing import Final, TextIO

_TOLD: Final = ("usermgr", "uvicorn", "asyncio")


class JsonLines(logging.Formatter):
    """A record as a JSON object. Of an exception only its type and places: texts may hold data."""

    def format(self, record: logging.LogRecord) -> str:
        """The line, without its end."""
        line = {
            "time": timestamp(datetime.fromtimestamp(record.created, UTC)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0] is not None:
            line["error"] = record.exc_info[0].__name__
            frames = traceback.extract_tb(record.exc_info[2])
            line["at"] = ", ".join(f"{frame.name}:{frame.lineno}" for frame in frames[-5:])
        return json.dumps(line)


def begin_log(stream: TextIO) -> None:
    """Let what this program and its server log go to the stream, from warnings on."""
    handler = logging.StreamHandler(stream)
    handler.setFormatter(JsonLines())
    for name in _TOLD:
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(logging.WARNING)
        logger.propagate = False


def timestamp(at: datetime) -> str:
    """The instant in RFC 3339, to the millisecond."""
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")

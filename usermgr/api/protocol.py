"""How long a client may take to begin a request, and to take an answer.

uvicorn alone bounds neither: whoever sends a byte now and then, or reads none, would hold a
connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any, ClassVar

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle


def patient_protocol(seconds: float) -> type[asyncio.Protocol]:
    """The protocol under which a request's headers must be complete within the time, and what fills
    the connection's buffer be taken; 0 is no limit."""
    return type("PatientProtocol", (PatientProtocol,), {"seconds": seconds})


class PatientProtocol(H11Protocol):
    """uvicorn's protocol; ``seconds`` are the time that a client has each time, 0 is no limit."""

    seconds: ClassVar[float]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        self._request = _Deadline(self.loop, self.seconds, self._end_request)
        self._answer = _Deadline(self.loop, self.seconds, self._end_answer)

    def connection_made(self, transport: Any) -> None:
        """The first request may come."""
        super().connection_made(transport)
        self._request.begin()

    def data_received(self, data: bytes) -> None:
        """A part of a request."""
        if not self._is_answering():
            self._request.begin()
        super().data_received(data)
        if self._is_answering():
            self._request.stop()

    def pause_writing(self) -> None:
        """The client takes less than it gets."""
        super().pause_writing()
        self._answer.begin()

    def resume_writing(self) -> None:
        """The client has taken it."""
        self._answer.stop()
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        """The end."""
        self._request.stop()
        self._answer.stop()
        super().connection_lost(exc)

    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _end_request(self) -> None:
        if not self._is_answering():
            self.transport.close()

    def _end_answer(self) -> None:
        # What is in the buffer would be waited for by close().
        self.transport.abort()


class _Deadline:
    """Calls a function when it was begun and not stopped in time; beginning again changes nothing:
    a byte now and then is no reason to wait longer."""

    def __init__(self, loop: asyncio.AbstractEventLoop, seconds: float, late: Any) -> None:
        self._loop, self._seconds, self._late = loop, seconds, late
        self._timer: asyncio.TimerHandle | None = None

    def begin(self) -> None:
        if self._seconds and self._timer is None:
            self._timer = self._loop.call_later(self._seconds, self._end)

    def stop(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _end(self) -> None:
        self._timer = None
        self._late()

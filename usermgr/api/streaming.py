"""An answer that is written by a thread, as fast as the client takes it."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import Callable
from typing import IO, Any, Final, cast

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from usermgr.api.transfers import Transfers

BLOCK: Final = 64 * 1024
AHEAD: Final = 4
"""How many blocks are written before the client has taken the first of them."""


class StreamedText(Response):
    """The text that ``write`` writes, in UTF-8.

    An error before the first block is answered as any other. One behind it ends the connection
    before the answer is complete, which every client notices.
    """

    def __init__(
        self, write: Callable[[IO[str]], None], transfers: Transfers, *, media_type: str
    ) -> None:
        super().__init__(None, media_type=media_type)
        del self.headers["content-length"]
        self._write, self._transfers = write, transfers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        with self._transfers.turn():
            blocks = _Blocks(asyncio.get_running_loop())
            writing = asyncio.create_task(self._transfers.run(lambda: self._fill(blocks)))
            leaving = asyncio.create_task(_disconnected(receive))
            leaving.add_done_callback(lambda _: blocks.stop())
            try:
                with contextlib.suppress(_Stopped):
                    await self._pass_on(blocks, writing, send)
            finally:
                blocks.stop()
                leaving.cancel()
                with contextlib.suppress(_Stopped):
                    await writing

    async def _pass_on(self, blocks: _Blocks, writing: asyncio.Task[None], send: Send) -> None:
        block = await blocks.next()
        if not block:
            await writing  # An answer without any text, or the error.
        start = {"type": "http.response.start", "status": 200, "headers": self.raw_headers}
        await send(start)
        while block:
            await send({"type": "http.response.body", "body": block, "more_body": True})
            block = await blocks.next()
        await writing
        await send({"type": "http.response.body", "body": b""})

    def _fill(self, blocks: _Blocks) -> None:
        try:
            buffered = io.BufferedWriter(blocks, BLOCK)
            with io.TextIOWrapper(cast(Any, buffered), "utf-8", newline="") as out:
                self._write(out)
        finally:
            blocks.end()


class _Stopped(Exception):
    """Nobody takes the blocks any more."""


class _Blocks(io.RawIOBase):
    """What one thread writes, and the event loop reads."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__()
        self._loop = loop
        self._queue: asyncio.Queue[bytes] = asyncio.Queue(AHEAD)
        self._stopped = False

    def writable(self) -> bool:
        return True

    def write(self, block: Any) -> int:
        """Wait until there is room for the block."""
        if self._stopped:
            raise _Stopped
        asyncio.run_coroutine_threadsafe(self._queue.put(bytes(block)), self._loop).result()
        return len(block)

    def end(self) -> None:
        """Nothing comes any more."""
        asyncio.run_coroutine_threadsafe(self._queue.put(b""), self._loop).result()

    async def next(self) -> bytes:
        """The next block, empty at the end."""
        return await self._queue.get()

    def stop(self) -> None:
        """Let the writer end at its next block; called by the event loop."""
        self._stopped = True
        with contextlib.suppress(asyncio.QueueEmpty):
            while True:
                self._queue.get_nowait()


async def _disconnected(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass

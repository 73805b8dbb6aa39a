"""A TCP proxy on loopback that can fall silent or hang up when it sees what it waits for."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

Act = Literal["cut before", "cut after", "silence", "silence after"]


@dataclass
class Proxy:
    """Forwards between clients and a server, until a client sends ``trigger``."""

    target: tuple[str, int]
    trigger: bytes
    act: Act
    fell_silent: threading.Event = field(default_factory=threading.Event)
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        """The port that clients connect to."""
        port: int = self.listener.getsockname()[1]
        return port

    def serve(self) -> None:
        """Serve one client after the other, until the listener is closed."""
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                threading.Thread(target=self._forward, args=[client], daemon=True).start()

    def _forward(self, client: socket.socket) -> None:
        silent = False
        with (
            client,
            socket.create_connection(self.target) as server,
            selectors.DefaultSelector() as selector,
        ):
            selector.register(client, selectors.EVENT_READ, server)
            selector.register(server, selectors.EVENT_READ, client)
            while True:
                for key, _ in selector.select():
                    assert isinstance(key.fileobj, socket.socket)
                    data = key.fileobj.recv(65536)
                    if not data:
                        return
                    seen = key.fileobj is client and self.trigger in data
                    if seen and self.act == "cut before":
                        return
                    silent = silent or (seen and self.act == "silence")
                    if not silent:
                        key.data.sendall(data)
                    silent = silent or (seen and self.act == "silence after")
                    if silent:
                        self.fell_silent.set()
                    if seen and self.act == "cut after":
                        server.recv(65536)  # The server has answered: it has done what was asked.
                        return


@contextlib.contextmanager
def proxy(target: tuple[str, int], trigger: bytes, act: Act) -> Iterator[Proxy]:
    """A running proxy to the target."""
    made = Proxy(target, trigger, act)
    thread = threading.Thread(target=made.serve, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.listener.shutdown(socket.SHUT_RDWR)
        made.listener.close()
        thread.join(10)

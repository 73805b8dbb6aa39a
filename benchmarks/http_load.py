"""Requests over a few connections that stay open, and how long each of them took."""

from __future__ import annotations

import itertools
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

CONNECTIONS = 4


@dataclass
class Took:
    """The seconds of each request, and of all of them side by side."""

    each: list[float] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def rate(self) -> float:
        """Requests a second."""
        return len(self.each) / self.seconds

    def share(self, part: float) -> float:
        """The seconds within which that part of the requests was answered."""
        return sorted(self.each)[min(len(self.each) - 1, int(len(self.each) * part))]


def send(
    port: int, request: Callable[[int], bytes], *, seconds: float, status: int, took: Took
) -> None:
    """Send numbered requests for so long. Raises RuntimeError for another status."""
    numbers, problems = itertools.count(), list[str]()
    start = time.perf_counter()

    def client() -> None:
        with socket.create_connection(("127.0.0.1", port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while time.perf_counter() < start + seconds and not problems:
                before = time.perf_counter()
                connection.sendall(request(next(numbers)))
                head = _answer(connection)
                took.each.append(time.perf_counter() - before)
                if not head.startswith(b"HTTP/1.1 %d " % status):
                    problems.append(head.decode(errors="replace")[:400])

    clients = [threading.Thread(target=client) for _ in range(CONNECTIONS)]
    for each in clients:
        each.start()
    for each in clients:
        each.join()
    took.seconds += time.perf_counter() - start
    if problems:
        raise RuntimeError(problems[0])


def _answer(connection: socket.socket) -> bytes:
    content = connection.recv(262_144)
    while b"\r\n\r\n" not in content:
        content += connection.recv(262_144)
    head, _, body = content.partition(b"\r\n\r\n")
    length = int(head.lower().partition(b"content-length:")[2].split()[0])
    rest = length - len(body)
    while rest > 0:
        rest -= len(connection.recv(262_144))
    return head

"""How the process waits for PostgreSQL while threads copy."""

from __future__ import annotations

import threading

from psycopg2 import extensions

from usermgr.db import waiting


def test_the_callback_is_back_when_the_last_thread_has_copied() -> None:
    before = extensions.get_wait_callback()
    waiting.install()
    installed = extensions.get_wait_callback()
    inside, leave = threading.Event(), threading.Event()

    def copy() -> None:
        with waiting.blocking():
            inside.set()
            leave.wait(10)

    thread = threading.Thread(target=copy)
    try:
        thread.start()
        assert inside.wait(10)
        with waiting.blocking():
            leave.set()
            thread.join(10)
            assert extensions.get_wait_callback() is None
        assert extensions.get_wait_callback() is installed
    finally:
        extensions.set_wait_callback(before)

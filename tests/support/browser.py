"""A real Chromium without a screen, driven by chromedriver (W3C WebDriver)."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx

_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"
_ARGUMENTS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1200,2000",
)


@dataclass(frozen=True)
class Browser:
    """One window. Elements are found by CSS."""

    session: httpx.Client

    def open(self, url: str) -> None:
        self._do("url", url=url)

    def click(self, css: str) -> None:
        self._do(f"element/{self._find(css)}/click")

    def type(self, css: str, text: str) -> None:
        self._do(f"element/{self._find(css)}/clear")
        self._do(f"element/{self._find(css)}/value", text=text)

    def text(self, css: str) -> str:
        found = self.session.get(f"element/{self._find(css)}/text")
        return str(found.raise_for_status().json()["value"])

    def logged(self, kind: str) -> list[dict[str, Any]]:
        """The entries of a log, ``browser`` or ``performance``, since the last time."""
        entries: list[dict[str, Any]] = self._do("se/log", type=kind)
        return entries

    def requested(self) -> list[str]:
        """The URL of everything that pages asked for since the last time."""
        events = [json.loads(entry["message"])["message"] for entry in self.logged("performance")]
        sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
        return [str(each["request"]["url"]) for each in sent]

    def _find(self, css: str, seconds: float = 15) -> str:
        """The element, as soon as it is there and can be seen."""
        end = time.monotonic() + seconds
        while True:
            asked = {"using": "css selector", "value": css}
            found = self.session.post("element", json=asked)
            if found.status_code == 200:
                element = str(found.json()["value"][_ELEMENT])
                if self.session.get(f"element/{element}/displayed").json()["value"]:
                    return element
            assert time.monotonic() < end, css
            time.sleep(0.05)

    def _do(self, what: str, **arguments: Any) -> Any:
        answer = self.session.post(what, json=arguments)
        assert answer.status_code == 200, answer.text
        return answer.json()["value"]


@contextlib.contextmanager
def browsing(folder: Path) -> Iterator[Browser]:
    """A browser whose profile is in the folder. It resolves no name."""
    driver, chromium = shutil.which("chromedriver"), shutil.which("chromium")
    assert driver is not None
    assert chromium is not None
    process = subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        started = next(line for line in process.stdout if "started successfully on port" in line)
        port = int(started.rsplit(" ", 1)[1].strip(".\n"))
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            options = {
                "args": [
                    *_ARGUMENTS,
                    f"--user-data-dir={folder}",
                    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
                ],
                "binary": chromium,
            }
            wanted = {
                "goog:chromeOptions": options,
                "goog:loggingPrefs": {"performance": "ALL", "browser": "ALL"},
            }
            asked = {"capabilities": {"alwaysMatch": wanted}}
            made = client.post("/session", json=asked).raise_for_status().json()["value"]
            session = f"http://127.0.0.1:{port}/session/{made['sessionId']}"
            client.base_url = httpx.URL(f"{session}/")
            try:
                yield Browser(client)
            finally:
                client.delete(session)
    finally:
        # What a browser that was left behind writes is not waited for.
        process.kill()
        process.wait()
        process.stdout.close()

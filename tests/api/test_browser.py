"""/docs in a real browser that reaches nothing but this server."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from tests.support.browser import browsing
from tests.support.serving import Face

NO_BROWSER = not (shutil.which("chromium") and shutil.which("chromedriver"))


@pytest.mark.skipif(NO_BROWSER, reason="needs chromium-driver, which .ci/run installs")
@pytest.mark.any_database
def test_docs_create_a_user_and_ask_no_other_host(face: Face, tmp_path: Path) -> None:
    assert face.cli("role", "create", "browser").exit_code == 0
    body = {"name": "Ana", "email": "ana@browser.example.com", "role": "browser"}
    operation = "#operations-users-create_user"
    with browsing(tmp_path / "profile") as browser:
        browser.open(f"{face.url}/docs")
        browser.click("button.authorize")
        browser.type("#auth-bearer-value", face.tokens["all"])
        browser.click(".auth-btn-wrapper button.authorize")
        browser.click(".auth-btn-wrapper button.btn-done")
        browser.click(f"{operation} .opblock-summary-control")
        browser.click(f"{operation} .try-out__btn")
        browser.type(f"{operation} textarea.body-param__text", json.dumps(body))
        browser.click(f"{operation} button.execute")
        status = browser.text(f"{operation} .live-responses-table tr.response .response-col_status")
        requested, told = browser.requested(), browser.logged("browser")
    assert status.split()[0] == "201"
    own = f"{face.url}/"
    asked = [url for url in requested if not url.startswith(("chrome:", "data:"))]
    assert (f"{own}v1/users" in asked, [url for url in asked if not url.startswith(own)]) == (
        True,
        [],
    )
    assert [entry["message"] for entry in told] == []
    assert face("GET", "/v1/users?search=ana@browser").json()["items"][0]["name"] == "Ana"

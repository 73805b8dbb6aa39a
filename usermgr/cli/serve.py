"""usermgr serve"""

from __future__ import annotations

import contextlib
import functools
import ipaddress
from typing import Annotated, Final

import typer

from usermgr.cli.context import AppContext, app_of
from usermgr.cli.options import Command
from usermgr.errors import InvalidInput

MOST_WORKERS: Final = 256

app = typer.Typer(add_completion=False)


@app.command(cls=Command)
def serve(
    ctx: typer.Context,
    host: Annotated[
        str, typer.Option("--host", help="The address to listen on; a name is resolved.")
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="The port; 0 is any free one.")
    ] = 8003,
    workers: Annotated[
        int, typer.Option("--workers", min=1, max=MOST_WORKERS, help="Processes that serve.")
    ] = 1,
    reload: Annotated[
        bool, typer.Option("--reload", help="Start anew when a file of the program changes.")
    ] = False,
    dev: Annotated[
        bool,
        typer.Option(
            "--dev",
            help="Print a token that may do everything until this ends; on loopback only.",
        ),
    ] = False,
) -> None:
    """Serve the HTTP API; needs the extra: pip install 'usermgr[serve]'.

    Ends well on SIGTERM and Ctrl-C: running requests get 25 seconds.
    """
    _require_extra()
    from usermgr.api.serving import Work, listen, serve_beside, serve_here

    run = app_of(ctx)
    if dev:
        _require_loopback(host)
    with run.database.read():
        pass  # A schema that is missing or stale is told now.
    work = Work(run.settings, _developer(run) if dev else None)
    with contextlib.closing(listen(host, port)) as listener:
        shown = f"[{host}]" if ":" in host else host
        note = f"note: serving on http://{shown}:{listener.getsockname()[1]}"
        announce = functools.partial(run.output.note, note)
        if workers > 1 or reload:
            serve_beside(work, listener, workers, announce, reload=reload)
        else:
            serve_here(work, listener, announce)


def _require_extra() -> None:
    try:
        import fastapi  # noqa: F401 - whether it is there
        import uvicorn  # noqa: F401
    except ImportError as error:
        raise InvalidInput(
            "usermgr serve needs packages that are not installed",
            hint="install them with: pip install 'usermgr[serve]'",
        ) from error


def _require_loopback(host: str) -> None:
    with contextlib.suppress(ValueError):
        if ipaddress.ip_address(host).is_loopback:
            return
    if host != "localhost":
        raise InvalidInput(
            f"--dev serves on loopback only, not on {host}",
            hint="create a token with usermgr token create, and leave --dev out",
        )


def _developer(run: AppContext) -> str:
    """Print a new token, and return the digest of its secret."""
    from usermgr.services.token_text import generate_secret, secret_digest, token_text

    secret = generate_secret()
    run.output.text(token_text(0, secret) + "\n")
    return secret_digest(secret)

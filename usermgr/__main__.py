"""``python -m usermgr`` and the ``usermgr`` script."""

from __future__ import annotations

import signal
import sys

INTERRUPTED = 130


def main() -> None:
    """Run the program; Ctrl-C also ends it quietly while it is still being loaded."""
    try:
        try:
            from usermgr.cli import app

            app.main()
        finally:
            # All is done and told. While the interpreter ends, one more Ctrl-C would make another
            # exit status of it.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()

"""``python -m usermgr`` and the ``usermgr`` script."""

from __future__ import annotations

import sys

INTERRUPTED = 130


def main() -> None:
    """Run the program; Ctrl-C also ends it quietly while it is still being loaded."""
    try:
        from usermgr.cli import app

        app.main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()

"""``python -m usermgr`` and the ``usermgr`` script."""

from usermgr.cli.app import main

if __name__ == "__main__":
    main()

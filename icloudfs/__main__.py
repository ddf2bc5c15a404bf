"""``python -m icloudfs``: the daemon starts itself this way."""

from icloudfs.cli import main

if __name__ == "__main__":
    main()

"""The process that replays changes through the mount. Started as a program: it has the standard library only.

A process of its own, not a thread: a system call through the mount waits for the daemon, and a daemon that is
killed while one of its own threads waits for itself can neither be ended nor let go of /dev/fuse, so that
everybody who uses the mount hangs with it. This process has no /dev/fuse; when the daemon dies its call fails
and its input ends, and so does it.

Orders come by marshal on standard input, each is answered with an errno on standard output.
"""

from __future__ import annotations

import errno
import marshal
import os
import stat
import struct
import sys

ANSWER = struct.Struct("i")


class Actor:
    """Acts in the mount at ``root`` whose device number has this minor, and nowhere else."""

    def __init__(self, root: bytes, minor: int) -> None:
        self._root = root
        self._minor = minor

    def act(self, call: str, path: bytes, name: bytes, *details: bytes | int) -> None:
        """Make one call. Nothing in the mount stays open, so that it can be unmounted at any time."""
        directory = self._open(path)
        try:
            getattr(self, call)(directory, name, *details)
        finally:
            os.close(directory)

    def mknod(self, directory: int, name: bytes) -> None:
        os.mknod(name, stat.S_IFREG | 0o644, dir_fd=directory)

    def mkdir(self, directory: int, name: bytes) -> None:
        os.mkdir(name, 0o755, dir_fd=directory)

    def unlink(self, directory: int, name: bytes) -> None:
        # The kernel counts links down by itself: let it have the right number first.
        os.stat(name, dir_fd=directory, follow_symlinks=False)
        os.unlink(name, dir_fd=directory)

    def rmdir(self, directory: int, name: bytes) -> None:
        os.rmdir(name, dir_fd=directory)

    def rename(self, directory: int, name: bytes, to_path: bytes, to_name: bytes) -> None:
        to_directory = self._open(to_path)
        try:
            os.rename(name, to_name, src_dir_fd=directory, dst_dir_fd=to_directory)
        finally:
            os.close(to_directory)

    def touch(self, directory: int, name: bytes) -> None:
        os.utime(name, ns=(0, 0), dir_fd=directory)

    def rewrite(self, directory: int, name: bytes, size: int) -> None:
        # "Modified", then "closed after writing": programs wait for the second, but only if they
        # have heard the first.
        file = os.open(name, os.O_WRONLY | os.O_NOFOLLOW, dir_fd=directory)
        try:
            os.ftruncate(file, size)
        finally:
            os.close(file)

    def _open(self, path: bytes) -> int:
        """A directory of the mount. Raises OSError if it is not: somebody may have unmounted it, or
        mounted something else there, and what lies below is none of ours."""
        place = self._root + b"/" + path
        directory = os.open(place, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        device = os.fstat(directory).st_dev
        if os.major(device) == 0 and os.minor(device) == self._minor:
            return directory
        os.close(directory)
        raise OSError(errno.EXDEV, "not our mount")


def main() -> None:
    actor = Actor(os.fsencode(sys.argv[1]), int(sys.argv[2]))
    while True:
        try:
            order = marshal.load(sys.stdin.buffer)
        except (EOFError, ValueError):
            return  # the daemon has ended, maybe in the middle of an order
        answer = 0
        try:
            actor.act(*order)
        except OSError as error:
            answer = error.errno or errno.EIO
        try:
            os.write(sys.stdout.fileno(), ANSWER.pack(answer))
        except BrokenPipeError:
            return


if __name__ == "__main__":
    main()

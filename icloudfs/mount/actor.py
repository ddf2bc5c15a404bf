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

_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Actor:
    """Acts in the mount at ``root`` whose device number has this minor, and nowhere else."""

    def __init__(self, root: bytes, minor: int, *, read_only: bool) -> None:
        """``read_only``: so it is shown (showing_read_only.py), and a way around that is needed."""
        self._root = root
        self._minor = minor
        self._read_only = read_only
        self._top = -1
        """The root of the mount, for one call: what is moved must not leave the mount that it is in."""

    def act(self, call: str, path: bytes, name: bytes, *details: bytes | int) -> None:
        """Make one call. Nothing in the mount stays open, so that it can be unmounted at any time."""
        self._top = writable(self._root) if self._read_only else os.open(self._root, _FOLDER)
        try:
            directory = self._open(path)
            try:
                getattr(self, call)(directory, name, *details)
            finally:
                os.close(directory)
        finally:
            os.close(self._top)

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
        directory = os.open(path or b".", _FOLDER, dir_fd=self._top)
        device = os.fstat(directory).st_dev
        if os.major(device) == 0 and os.minor(device) == self._minor:
            return directory
        os.close(directory)
        raise OSError(errno.EXDEV, "not our mount")


# -- around the flag of a mount ----------------------------------------------------------------------

HERE = -100  # AT_FDCWD
READ_ONLY = 1  # MOUNT_ATTR_RDONLY
_EMPTY_PATH = 0x1000
_COPY = 1 | os.O_CLOEXEC  # OPEN_TREE_CLONE
_OPEN_TREE, _MOUNT_SETATTR = 428, 442  # system calls, on every machine but Alpha
_ATTRIBUTES = struct.Struct("=QQQQ")
"""``struct mount_attr``: what to set, what to clear, how it propagates, whose users."""


def writable(root: bytes) -> int:
    """A descriptor of a mount of what is mounted at ``root``, in no namespace and not read-only. It is gone
    when the last descriptor of anything in it is closed. Raises OSError, EPERM to who may not mount."""
    top = _call(_OPEN_TREE, HERE, root, _COPY)
    try:
        set_flags(top, b"", _EMPTY_PATH, clear_flags=READ_ONLY)
    except OSError:
        os.close(top)
        raise
    return top


def set_flags(
    directory: int, path: bytes, how: int, *, set_flags: int = 0, clear_flags: int = 0
) -> None:
    """Set and clear flags of one mount. Raises OSError."""
    attributes = _ATTRIBUTES.pack(set_flags, clear_flags, 0, 0)
    _call(_MOUNT_SETATTR, directory, path, how, attributes, len(attributes))


def _call(number: int, *arguments: int | bytes) -> int:
    import ctypes  # late: who needs none of this starts sooner

    libc = ctypes.CDLL(None, use_errno=True)
    words = [ctypes.c_long(a) if isinstance(a, int) else ctypes.c_char_p(a) for a in arguments]
    result = libc.syscall(ctypes.c_long(number), *words)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return int(result)


def main() -> None:
    root, minor, read_only = sys.argv[1:]
    actor = Actor(os.fsencode(root), int(minor), read_only=read_only == "ro")
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

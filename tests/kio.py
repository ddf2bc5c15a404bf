"""Programs that look at files, as the mount sees them: workers of KDE's input and output by the name of a
thread, or of a process and its first argument; others by the name of their process. What they do is what those
do, one order after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import TracebackType

_PROGRAM = """
import ctypes, os, sys
from concurrent.futures import ThreadPoolExecutor

def call_this_thread(name):
    ctypes.CDLL(None).prctl(15, name.encode())  # PR_SET_NAME

def list_folder(path):
    with os.scandir(path) as entries:
        return sum(1 for entry in entries if entry.stat(follow_symlinks=False))

def read(path):
    with open(path, "rb") as file:
        return len(file.read())

def hold(path):
    held.append(os.open(path, os.O_RDONLY))

def browse(path):
    return pool.submit(list_folder, path).result()

held = []
do = {"list": list_folder, "stat": os.lstat, "read": read, "hold": hold, "browse": browse}
call_this_thread(sys.argv[1])
pool = ThreadPoolExecutor(1, initializer=call_this_thread, initargs=("pool-1",))
for line in sys.stdin:
    order, path = line.rstrip("\\n").split(" ", 1)
    try:
        answer = do[order](path)
        print(answer if isinstance(answer, int) else "done", flush=True)
    except OSError as error:
        print(error.strerror, flush=True)
"""

LISTS = ("file.so", "KIO::WorkerThread")
LISTS_AS_A_PROCESS = ("file.so", "kioslave5")
DRAWS = ("thumbnail.so", "kioslave5")
DRAWS_FOR_KDE_6 = ("thumbnail.so", "kioworker")
COPIES = LISTS_AS_A_PROCESS
"""A library and the name of the thread."""


def browser(name: str) -> tuple[str, str]:
    """A program that is no worker of KDE's."""
    return f"{name}.py", name


class Worker:
    """One of them. Leave the context and it has ended."""

    def __init__(self, kind: tuple[str, str], folder: Path) -> None:
        """``folder`` is where its program is put."""
        library, name = kind
        program = folder / library
        program.write_text(_PROGRAM)
        self._process = subprocess.Popen(
            [sys.executable, program, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def order(self, what: str, path: Path) -> None:
        """Have it list, stat, read, hold open, or browse, which is to list by another thread; it does not look
        at the next order before."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{what} {path}\n")
        self._process.stdin.flush()

    def answer(self) -> str:
        """What came of the oldest order that has not been answered: a number, done, or what went wrong."""
        assert self._process.stdout is not None
        return self._process.stdout.readline().rstrip("\n")

    def do(self, what: str, path: Path) -> str:
        self.order(what, path)
        return self.answer()

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

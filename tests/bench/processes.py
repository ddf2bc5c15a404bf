"""What a process costs: memory and processor time, as the kernel counts them."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path
from typing import NamedTuple

_MB = 1024
"""KiB."""


class Memory(NamedTuple):
    """Of one process, MB."""

    peak: float
    resident: float


def memory_of(process: int) -> Memory:
    """Raises SystemExit if the process is gone."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except FileNotFoundError:
        raise SystemExit(f"process {process} is gone") from None
    figures = dict(line.split(":", 1) for line in lines)
    return Memory(_megabytes(figures["VmHWM"]), _megabytes(figures["VmRSS"]))


def _megabytes(figure: str) -> float:
    return int(figure.split()[0]) / _MB


def processor_time(process: int) -> float:
    """Seconds that a process has spent so far, its own and the kernel's for it.

    What others do at the same time hardly touches this, so it says more than a clock on a busy machine.
    """
    # The name, in brackets, may hold blanks; utime and stime are fields 14 and 15 (proc(5)).
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def timed_child(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """(seconds, peak memory in MB) of a command that must succeed."""
    began = time.monotonic()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    return time.monotonic() - began, usage.ru_maxrss / _MB

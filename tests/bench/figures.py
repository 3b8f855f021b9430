"""What a benchmark gives, and on what it was measured."""

from __future__ import annotations

import os
import platform
import resource
import statistics
import subprocess
from collections.abc import Sequence
from pathlib import Path

import msgspec

ROOT = Path(__file__).parents[2]


def raise_file_limit(wanted: int) -> None:
    """Lets this process have `wanted` files open. Raises SystemExit where the machine allows fewer."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < wanted and hard != resource.RLIM_INFINITY and hard < wanted:
        raise SystemExit(f"needs {wanted} open files; this machine allows {hard}")
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


class Figure(msgspec.Struct, frozen=True, kw_only=True):
    """One measurement. `ceiling` is the same work without Fenghuo around it, `ratio` is value by ceiling.

    `cpu_us`: processor time of this process, microseconds a recipient; of the fan-outs alone. `load`: how much it was
    measured with, `goal`: what was asked for, both in words.
    """

    name: str
    value: float
    unit: str
    ceiling: float
    ratio: float
    cpu_us: float | None = None
    load: str = ""
    goal: str = ""


def figure(
    name: str,
    unit: str,
    pairs: Sequence[tuple[float, float]],
    cpu_us: Sequence[float] = (),
    *,
    load: str = "",
    goal: str = "",
) -> Figure:
    """The medians of (value, ceiling) pairs that were measured in turn."""
    value = statistics.median(value for value, _ in pairs)
    ceiling = statistics.median(ceiling for _, ceiling in pairs)
    return Figure(
        name=name,
        value=short(value),
        unit=unit,
        ceiling=short(ceiling),
        ratio=round(value / ceiling, 2),
        cpu_us=short(statistics.median(cpu_us)) if cpu_us else None,
        load=load,
        goal=goal,
    )


def short(number: float) -> float:
    return round(number, 2) if number < 100 else float(round(number))


class Machine(msgspec.Struct, frozen=True, kw_only=True):
    """Where it was measured: figures of two machines say nothing about each other; ratios do."""

    cpu: str
    cores: int
    python: str
    memory_gib: float

    def __str__(self) -> str:
        return f"{self.cpu}, {self.cores} cores, {self.memory_gib} GiB, Python {self.python}"


def machine() -> Machine:
    cpu = platform.processor() or platform.machine()
    memory = 0.0
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
        for line in Path("/proc/meminfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("MemTotal"):
                memory = int(line.split()[1]) / 1024 / 1024
    except OSError:
        pass  # not Linux: less is known
    return Machine(cpu=cpu, cores=_cores(), python=platform.python_version(), memory_gib=round(memory, 1))


def _cores() -> int:
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1


def commit() -> str:
    """The commit that was measured, with `-dirty` where the working tree is not as committed."""

    def git(*arguments: str) -> str:
        try:
            done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
        except (OSError, subprocess.CalledProcessError):
            return ""
        return done.stdout.strip()

    name = git("rev-parse", "--short", "HEAD") or "none"
    return f"{name}-dirty" if git("status", "--porcelain", "--untracked-files=no") else name

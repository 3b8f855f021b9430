"""Runs benchmarks one after the other and prints what they found: a table, or one JSON object a line."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from infra import interpreter, logs
from tests.bench.figures import Figure, commit, machine

Run = Callable[[], Coroutine[None, None, "Figure | Sequence[Figure]"]]
err = Console(stderr=True, highlight=False, soft_wrap=True)


class NoPeer(Exception):
    """What is to be measured against, or with, cannot be had here."""


def report(chosen: Mapping[str, Run], *, as_json: bool, title: str = "Fenghuo") -> int:
    """Exit status: 1 where one of them could not be measured for another reason than what is missing here."""
    logs.configure(level="WARNING", as_json=False)  # the program's lines would stand among the figures
    interpreter.tune()
    interpreter.settled()
    on, of = machine(), commit()
    figures: list[Figure] = []
    failed = 0
    for name, run in chosen.items():
        began = time.perf_counter()
        try:
            found = uvloop.run(run())
        except NoPeer as error:
            err.print(f"{name} gives no figure: {error}")
            continue
        except Exception:  # the others are measured all the same
            err.print_exception()
            err.print(f"{name} failed")
            failed = 1
            continue
        err.print(f"{name} took {time.perf_counter() - began:.1f} s", style="dim")
        for one in [found] if isinstance(found, Figure) else found:
            figures.append(one)
            if as_json:
                line = {**msgspec.structs.asdict(one), "machine": msgspec.structs.asdict(on), "commit": of}
                sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
                sys.stdout.flush()
    table = Table(title=title, caption=f"{on}, commit {of}\nvalue and ceiling are medians of interleaved runs")
    goals = any(f.goal for f in figures)
    for heading in ("benchmark", "value", "unit", "ceiling", "value/ceiling", "CPU us", *(("goal",) * goals)):
        right = heading in {"value", "ceiling", "value/ceiling", "CPU us"}
        table.add_column(heading, justify="right" if right else "left")
    for f in figures:
        more = (f.goal,) if goals else ()
        cpu = f"{f.cpu_us:,g}" if f.cpu_us else ""
        table.add_row(f.name, f"{f.value:,g}", f.unit, f"{f.ceiling:,g}", f"{f.ratio:.2f}", cpu, *more)
    out = err if as_json else Console(soft_wrap=True)
    out.print(table)
    for f in figures:
        if f.load:
            out.print(f"{f.name}: {f.load}", style="dim")
    return failed

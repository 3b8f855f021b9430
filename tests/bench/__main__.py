"""`python -m tests.bench [--json] [NAME...]`: runs the benchmarks that are named (`email`, `append.c1`), or all."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Coroutine

import msgspec
import uvloop
from rich.console import Console
from rich.table import Table

from infra import logs
from tests.bench import durable, first_byte, lanes, log, mail, memory, postgres, stream, webhook
from tests.bench.figures import SWITCH_S, Figure, commit, machine

BENCHMARKS: dict[str, Callable[[], Coroutine[None, None, Figure]]] = {
    "email.durable": mail.durable,
    "email.pipelined": mail.pipelined,
    "email.channel": mail.channel,
    "email.rtt20": mail.rtt20,
    "email.vs_apprise": mail.vs_apprise,
    "sms.durable": durable.sms,
    "webpush.durable": durable.webpush,
    "stream.1000": stream.stream_1000,
    "stream.5000": stream.stream_5000,
    "webhook.durable": webhook.durable,
    "webhook.vs_alertmanager": webhook.vs_alertmanager,
    "append.c1": log.append_one,
    "append.c200": log.append_many,
    "append.pg.c200": postgres.append_many,
    "replay": log.replay,
    "replay.pg": postgres.replay,
    "accepted_to_first_byte.p99": first_byte.p99,
    "lane.extreme_first_send.p99": lanes.extreme_first_send,
    "memory.million": memory.million,
}
err = Console(stderr=True, highlight=False, soft_wrap=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}, or how they begin")
    parser.add_argument("--people", type=int, help="recipients of the lane and memory benchmarks (100,000)")
    options = parser.parse_args()
    if options.people:
        lanes.bulk = memory.people = options.people
    chosen = {
        name: run
        for name, run in BENCHMARKS.items()
        if not options.names or any(name.startswith(wanted) for wanted in options.names)
    }
    if not chosen:
        parser.error(f"there are: {', '.join(BENCHMARKS)}")
    logs.configure(level="WARNING", as_json=False)  # the program's lines would stand among the figures
    sys.setswitchinterval(SWITCH_S)
    on, of = machine(), commit()
    figures: list[Figure] = []
    for name, run in chosen.items():
        began = time.perf_counter()
        try:
            found = uvloop.run(run())
        except webhook.NoPeer as error:
            err.print(f"{name} gives no figure: {error}")
            continue
        figures.append(found)
        err.print(f"{name} took {time.perf_counter() - began:.1f} s", style="dim")
        if options.json:
            line = {**msgspec.structs.asdict(found), "machine": msgspec.structs.asdict(on), "commit": of}
            sys.stdout.write(msgspec.json.encode(line).decode() + "\n")
            sys.stdout.flush()
    table = Table(title="Fenghuo", caption=f"{on}, commit {of}\nvalue and ceiling are medians of interleaved runs")
    for heading in ("benchmark", "value", "unit", "ceiling", "value/ceiling", "CPU us"):
        table.add_column(heading, justify="left" if heading in {"benchmark", "unit"} else "right")
    for f in figures:
        table.add_row(
            f.name, f"{f.value:,g}", f.unit, f"{f.ceiling:,g}", f"{f.ratio:.2f}", f"{f.cpu_us:,g}" if f.cpu_us else ""
        )
    (err if options.json else Console()).print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())

"""`python -m tests.bench.scale [--small] [--json] [NAME...]`: what needs PostgreSQL, Kafka, or processes of its own.

`make bench-scale` runs all of it, which takes hours: `growth` grows a log to ten million events. `--small` shows within
minutes that each works; its figures say little. Parts that cannot be had here give no figure.
"""

from __future__ import annotations

import argparse

import msgspec

from tests.bench import api, fanout, growth, lanes_kafka, loads, postgres
from tests.bench.report import Run, report

BENCHMARKS: dict[str, Run] = {
    "api.issue": api.issue,
    "api.ack": api.ack,
    "append.pg.c200": postgres.append_many,
    "replay.pg": postgres.replay,
    "fanout.pg.100k": fanout.measured,
    "kafka.w": lanes_kafka.workers,
    "kafka.accepted_to_first_byte.p99": lanes_kafka.first_byte,
    "growth": growth.measured,
}
"""By name; `kafka.w` and `growth` give several figures each."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.scale", description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    parser.add_argument("--small", action="store_true", help="little of everything")
    for field in msgspec.structs.fields(loads.Load):
        if field.type in (int, float):
            name = field.name.replace("_", "-")
            most, least = field.default, getattr(loads.SMALL, field.name)
            parser.add_argument(f"--{name}", type=field.type, help=f"in place of {most:,} (small: {least:,})")
    parser.add_argument("--svg", help="where growth draws its plot; without: nowhere")
    parser.add_argument("--on", choices=("postgres", "files"), default="postgres", help="where growth keeps its log")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"any of {', '.join(BENCHMARKS)}, or how they begin")
    options = parser.parse_args()
    load = loads.SMALL if options.small else loads.FULL
    given = {f: getattr(options, f) for f in load.__struct_fields__ if getattr(options, f, None) is not None}
    loads.now = msgspec.structs.replace(load, **given)
    growth.svg, growth.on = options.svg, options.on
    chosen = {
        name: run
        for name, run in BENCHMARKS.items()
        if not options.names or any(name.startswith(wanted) or wanted.startswith(name) for wanted in options.names)
    }
    if not chosen:
        parser.error(f"there are: {', '.join(BENCHMARKS)}")
    return report(chosen, as_json=options.json, title="Fenghuo, scaled out")


if __name__ == "__main__":
    raise SystemExit(main())

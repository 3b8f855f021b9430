"""`python -m tests.bench [--json] [NAME...]`: runs the benchmarks that are named (`email`, `append.c1`), or all.

Those that need PostgreSQL, Kafka or processes of their own are in `tests/bench/scale.py` (`make bench-scale`).
"""

from __future__ import annotations

import argparse

from tests.bench import durable, first_byte, lanes, log, mail, memory, processes, stream, webhook
from tests.bench.report import Run, report

BENCHMARKS: dict[str, Run] = {
    "email.durable": mail.durable,
    "email.pipelined": mail.pipelined,
    "email.channel": mail.channel,
    "email.rtt20": mail.rtt20,
    "email.vs_apprise": mail.vs_apprise,
    "sms.durable": durable.sms,
    "sms.processes": processes.sms,
    "webpush.durable": durable.webpush,
    "stream.1000": stream.stream_1000,
    "stream.5000": stream.stream_5000,
    "webhook.durable": webhook.durable,
    "webhook.vs_alertmanager": webhook.vs_alertmanager,
    "append.c1": log.append_one,
    "append.c200": log.append_many,
    "replay": log.replay,
    "accepted_to_first_byte.p99": first_byte.p99,
    "lane.extreme_first_send.p99": lanes.extreme_first_send,
    "memory.million": memory.million,
}


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
    return report(chosen, as_json=options.json)


if __name__ == "__main__":
    raise SystemExit(main())

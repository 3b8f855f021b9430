"""`python -m infra.sandbox`: the three providers in a process of their own, until SIGTERM or SIGINT.

Prints one line of JSON when they listen: `{"sms": url, "smtp": [host, port], "push": url, "pid": …}`. `GET /stats`
on the SMS port tells how many messages each took, with `--count` also how many each recipient got.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import signal
import sys
from typing import Any

from infra.sandbox.push import SandboxPush
from infra.sandbox.sms import SandboxSms
from infra.sandbox.smtp import SandboxSmtp


def arguments() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m infra.sandbox", description=__doc__.splitlines()[0])
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--sms-port", type=int, default=0, help="0: a free one")
    parser.add_argument("--smtp-port", type=int, default=0)
    parser.add_argument("--push-port", type=int, default=0)
    parser.add_argument("--account-sid", default="AC" + "0" * 32, help="made up; clients must send the same")
    parser.add_argument("--auth-token", default="sandbox", help="made up; it signs the callbacks")
    parser.add_argument("--inbound-url", help="where replies to text messages are posted")
    parser.add_argument("--discard", "--quiet-store", action="store_true", help="count messages, do not keep them")
    parser.add_argument("--count", action="store_true", help="also count for each recipient")
    parser.add_argument("--no-callbacks", action="store_true", help="take text messages and never report on them")
    return parser


async def serve(options: argparse.Namespace) -> None:
    """Runs the providers until a signal says stop."""
    smtp = SandboxSmtp(host=options.host, port=options.smtp_port, discard=options.discard, count=options.count)
    push = SandboxPush(host=options.host, port=options.push_port, discard=options.discard, count=options.count)

    def stats() -> dict[str, Any]:
        return {"sms": sms.tally.stats(), "smtp": smtp.tally.stats(), "push": push.tally.stats()}

    sms = SandboxSms(
        options.account_sid,
        options.auth_token,
        host=options.host,
        port=options.sms_port,
        inbound_url=options.inbound_url,
        discard=options.discard,
        count=options.count,
        callbacks=not options.no_callbacks,
        stats=stats,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    for provider in (sms, smtp, push):
        await provider.start()
    ready = {"sms": sms.url, "smtp": [smtp.host, smtp.port], "push": push.url, "pid": os.getpid()}
    sys.stdout.write(json.dumps(ready) + "\n")
    sys.stdout.flush()
    gc.freeze()
    await stop.wait()
    for provider in (sms, smtp, push):
        await provider.stop()


def main() -> None:
    options = arguments().parse_args()
    try:
        import uvloop  # noqa: PLC0415  (not on every platform)
    except ImportError:
        asyncio.run(serve(options))
    else:
        uvloop.run(serve(options))


if __name__ == "__main__":
    main()

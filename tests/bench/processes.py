"""A fan-out by the program's roles as processes of their own, on files: `project`, `relay` and one `work`.

The views are folded by one interpreter while another sends, so the machine's second core is of use. Against the same
bare loop as `sms.durable`, which has one process.
"""

from __future__ import annotations

import time
from contextlib import AsyncExitStack

from domain.people import Channel
from infra.roles import Role
from infra.runtime import Runtime
from infra.stores import Stores
from tests.bench.durable import PEOPLE, REQUESTS, ROUNDS, SENDER, phone_of, posting
from tests.bench.figures import Figure, figure
from tests.bench.rig import ACCOUNT, TOKEN, fan_out, folder, populate, sink
from tests.ops.process import Serve

ROLES = (("project",), ("relay",), ("work", "--name", "bench"))


async def sms() -> Figure:
    async with AsyncExitStack() as kept:
        to = kept.enter_context(sink())
        path = kept.enter_context(folder())
        stores = await kept.enter_async_context(Stores(path))
        await populate(stores, Channel.SMS, PEOPLE, lambda n: {"phone": phone_of(n)})
        await stores.catch_up()
        runtime = Runtime(stores, {}, "http://127.0.0.1:1", role=Role.SERVE)  # we only ask and decide
        await runtime.start()
        kept.push_async_callback(runtime.stop, 5)
        settings = {
            "FENGHUO_DATA_DIR": str(path),
            "FENGHUO_PUBLIC_URL": "http://127.0.0.1:1",
            "FENGHUO_LOG_LEVEL": "error",
            "FENGHUO_SMS__ACCOUNT_SID": ACCOUNT,
            "FENGHUO_SMS__AUTH_TOKEN": TOKEN,
            "FENGHUO_SMS__SENDER": SENDER,
            "FENGHUO_SMS__BASE_URL": to.sms,
            "FENGHUO_SMS__CONCURRENCY": str(REQUESTS),
        }
        for role, *options in ROLES:
            running = await Serve.start(settings, *options, role=role)
            kept.push_async_callback(running.stop)
            await running.says(" at http")
        bare = await kept.enter_async_context(posting(to))
        await bare()
        await fan_out(runtime, PEOPLE)  # connections are open and code is warm from here on
        pairs = []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            await bare()
            ceiling = PEOPLE / (time.perf_counter() - began)
            pairs.append((await fan_out(runtime, PEOPLE), ceiling))
    return figure("sms.processes", "recipients/s", pairs)

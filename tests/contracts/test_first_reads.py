"""Threads that are the first to read a kind of event, all at once: the program must survive them.

msgspec 0.22 crashes the process when two threads are the first to convert to the same type. The mapper makes every
type ready while it is imported; each run here is a fresh process, in which nothing but that import came before.
"""

from __future__ import annotations

import subprocess
import sys

RUN = """
import sys, threading
import msgspec
import infra.log.mapper
from domain.events import known_topics
sys.setswitchinterval(1e-6)
for cls in known_topics().values():
    together = threading.Barrier(4)
    def read():
        together.wait()
        try:
            msgspec.convert({name: {} for name in cls.__struct_fields__}, cls)
        except msgspec.ValidationError:
            pass
    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads: thread.start()
    for thread in threads: thread.join()
"""


def test_threads_that_read_an_event_first_together_do_not_crash_the_program() -> None:
    for _ in range(3):
        ended = subprocess.run(
            [sys.executable, "-X", "faulthandler", "-c", RUN], capture_output=True, text=True, check=False
        )
        assert ended.returncode == 0, ended.stderr

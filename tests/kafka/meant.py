"""What a test announces of the errors that it provokes."""

from __future__ import annotations


class Meant:
    """`events`: our own log lines. `brokers_fail`: whatever the client library says, since its brokers are ended."""

    def __init__(self) -> None:
        self.events: set[str] = set()
        self.brokers_fail = False

"""What a test announces of the errors that it provokes."""

from __future__ import annotations


class Meant:
    """`events`: our own log lines."""

    def __init__(self) -> None:
        self.events: set[str] = set()

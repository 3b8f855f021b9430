"""What a process of an installation does. `all` does everything; the others share an installation between them."""

from __future__ import annotations

from enum import StrEnum


class Role(StrEnum):
    """`fenghuo ROLE` runs one. Of `project` and `relay` one process is active at a time, and others stand by."""

    ALL = "all"
    SERVE = "serve"  # the API and the console
    PROJECT = "project"  # folds the views and signs the log
    RELAY = "relay"  # plans, chases silence, climbs ladders, reads feeds
    WORK = "work"  # sends

    @property
    def folds(self) -> bool:
        return self in {Role.ALL, Role.PROJECT}

    @property
    def plans(self) -> bool:
        return self in {Role.ALL, Role.RELAY}

    @property
    def sends(self) -> bool:
        return self in {Role.ALL, Role.WORK}

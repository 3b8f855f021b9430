"""What every request asks of the directory, kept from one request to the next until it changes.

The tree, grants, credentials and rules change a few times a day and are asked for with every request. They have one
revision: where a connection sees the same one, it would read the same rows again. So nothing is ever out of date here.
"""

from __future__ import annotations

from typing import TypeVar

from domain.grants import Grant, Token
from domain.rulepacks import RulePack
from domain.stations import Hierarchy

MOST = 10_000  # people's grants, and credentials, that are kept

V = TypeVar("V")


class Kept:
    """What was read at one revision. Filled bit by bit, by several threads: each would put in the same."""

    def __init__(self, revision: int) -> None:
        self.revision = revision
        self.hierarchy: Hierarchy | None = None
        self.packs: list[RulePack] | None = None
        self.grants: dict[str, tuple[Grant, ...]] = {}
        self.tokens: dict[str, Token] = {}

    def keep(self, where: dict[str, V], key: str, value: V) -> None:
        """Puts in what was found; with too much kept already, all of its kind is forgotten first."""
        if len(where) >= MOST:
            where.clear()
        where[key] = value

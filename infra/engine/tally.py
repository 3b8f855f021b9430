"""What is counted while a plan goes by on its way to the log: nobody holds all of it at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from api.told import Pages
from domain.planning import Told
from domain.shards import ShardPlanned


class Tally:
    """Of one plan. `known` stand in the plan already; `names`, where they are wanted."""

    def __init__(self) -> None:
        self.count = self.recipients = 0
        self.unreachable: dict[str, int] = {}
        self.known: set[str] = set()
        self.names: set[str] = set()

    def told(self, pages: Pages, *, by_name: bool) -> Iterator[Told]:
        for meant, told in pages:
            for person in meant:
                if not person.channels:
                    self.unreachable[person.node_id] = self.unreachable.get(person.node_id, 0) + 1
            people = {t.person_id for t in told}
            self.recipients += len(people - self.known)
            if by_name:
                self.names |= people
            yield from told

    def shards(self, planned: Iterable[ShardPlanned]) -> Iterator[ShardPlanned]:
        for shard in planned:
            self.count += 1
            yield shard

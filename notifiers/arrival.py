"""The first message that somebody of a node's staff is known to have is the node's "delivered", whoever says so:
the channel's own answer or a later receipt."""

from __future__ import annotations

from domain import relays
from domain.ids import relay_stream
from domain.ports import Log, Origin
from domain.shards import TELLING, Circle, ShardPlanned

KEPT = 50_000  # nodes of warnings that are known to have it; of a forgotten one the log is asked again


class Arrivals:
    def __init__(self, log: Log, origin: Origin) -> None:
        self._log = log
        self._origin = origin
        self._known: set[tuple[str, str]] = set()

    async def note(self, plan: ShardPlanned) -> None:
        """A message of this shard arrived; returns once its node's "delivered" is in the log, if it means that.

        Raises Unreachable, VersionConflict.
        """
        key = (plan.warning_id, plan.node_id)
        if plan.circle is not Circle.STAFF or plan.purpose not in TELLING or key in self._known:
            return
        await self._log.execute(
            relay_stream(*key), relays.evolve, lambda s: relays.delivered(s, channel=plan.channel.value), self._origin
        )
        if len(self._known) >= KEPT:
            self._known.clear()
        self._known.add(key)

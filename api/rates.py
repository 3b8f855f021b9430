"""The command behind rates: who may set one, and that it stands in the log before it holds."""

from __future__ import annotations

from collections.abc import Sequence

from api.commands import Actor, Commands, Done, Once
from domain import rates
from domain.errors import NotFound
from domain.grants import Action
from domain.ids import rate_stream
from domain.ports import Append
from domain.rates import Rate
from notifiers.failover import Providers


class Rates(Commands):
    async def set(
        self,
        actor: Actor,
        provider: str,
        sender: str,
        rate: Rate,
        *,
        known: Providers | None = None,
        once: Once | None = None,
        bootstrap: bool = False,
    ) -> Done:
        """Sets a provider's rate, or that of one of its senders. Raises NotFound for one that is not among `known`."""
        origin = self.origin(actor) if bootstrap else self.allow(actor, Action.RATE_WRITE, [self._top()])
        if known is not None:
            found = known.named(provider)
            if found is None or sender not in ("", found.pace.sender):
                raise NotFound(
                    "provider.unknown", "There is no such provider or sender.", "GET /v1/providers has them."
                )

        async def decide() -> tuple[Sequence[Append], str]:
            stream = rate_stream(provider)
            state, version = await self.log.load(stream, rates.evolve)
            events = rates.set_rate(state, provider=provider, sender=sender, rate=rate)
            return [Append(stream, version, events)], provider

        return await self.commit(decide, origin, once)

    def _top(self) -> str:
        """A provider serves the whole tree: its rate is a matter of the top."""
        with self.views.reading() as db:
            nodes = self.views.directory.hierarchy(db).nodes.values()
        top = next((node.node_id for node in nodes if node.parent is None), None)
        if top is None:
            raise NotFound("node.none", "No hierarchy is loaded.", "Load one: fenghuo hierarchy load FILE.")
        return top

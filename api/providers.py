"""Providers and their rates over HTTP: how each of them is, and how fast it is asked."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Path
from pydantic import Field, StringConstraints

from api.auth import O_, A, S
from api.rates import Rates
from api.schemas import Command, Strict, jsonable
from api.warnings import top_node
from domain.grants import Action
from domain.rates import FASTEST, LARGEST_BURST, SLOWEST, Rate

router = APIRouter(prefix="/v1", tags=["providers"])
Name = Annotated[str, Path(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class RateIn(Strict):
    """Tokens a second, for text messages one a segment; `sender`: one of the provider's numbers alone."""

    per_s: Annotated[float, Field(ge=SLOWEST, le=FASTEST)]
    burst: Annotated[int, Field(ge=1, le=LARGEST_BURST)] = 1
    sender: Annotated[str, StringConstraints(max_length=100)] = ""


@router.get("/providers")
def providers(actor: A, s: S) -> list[dict[str, Any]]:
    """Every provider of this installation: state of its breaker and since when, last reason, rates, what was spent."""
    s.desk.allow(actor, Action.PROVIDER_READ, [top_node(s)])
    return [jsonable(row) for row in s.providers.described()]


@router.get("/rates")
def rates(actor: A, s: S) -> list[dict[str, Any]]:
    """The rates that were set while it ran: by whom and when."""
    s.desk.allow(actor, Action.PROVIDER_READ, [top_node(s)])
    with s.views.reading() as db:
        return [jsonable(row) for row in s.views.rates.all(db)]


@router.put("/rates/{provider}")
async def set_rate(provider: Name, body: RateIn, actor: A, once: O_, s: S) -> Command:
    """From now on the provider is asked no faster than this. What waits is sent by it at once."""
    commands = Rates(s.log, s.views, s.desk.vault, s.clock, s.new_id)
    done = await commands.set(actor, provider, body.sender, Rate(body.per_s, body.burst), known=s.providers, once=once)
    await s.progress.reached(done.position)
    return Command(id=done.id, position=done.position, repeated=done.repeated)

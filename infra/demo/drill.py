"""A program of its own for a drill: the demo's hierarchy and people, providers on loopback, stations that answer."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from domain.grants import TokenKind
from infra.cli.output import progress
from infra.config import OwnSettings
from infra.demo.crowd import Crowd, Order
from infra.demo.hierarchy import hierarchy
from infra.demo.people import people
from infra.demo.setup import SETUP, load
from infra.serve import serving
from infra.stores import Stores

PEOPLE = 300
STAFF = ("duty_officer", "county_officer", "head", "deputy", "liaison")


@asynccontextmanager
async def sandboxed(settings: OwnSettings) -> AsyncIterator[tuple[str, str]]:
    """(address, token of an officer) of a running program whose staff answer whatever reaches them, as people do."""
    async with (
        Crowd() as crowd,
        Stores(settings.data_dir) as stores,
        serving(crowd.settings(settings), stores) as live,
    ):
        everybody = list(people(count=PEOPLE))
        subscriptions = await crowd.subscribe(sum(person.push for person in everybody))
        with progress("人员 people", len(everybody)) as told:
            cast = await load(stores, hierarchy(), everybody, subscriptions, told)
        staff = cast.addresses(lambda person: person.role in STAFF)
        await crowd.answer(Order(what="answer", inbound_url=f"{live.url}/callbacks/sms/inbound", staff=staff))
        token = secrets.token_urlsafe(32)
        await stores.registry.issue_token(cast.officers[0], TokenKind.BEARER, token, timedelta(hours=25), SETUP)
        await stores.follower.reached(await stores.log.last_position())
        yield live.url, token
        await crowd.quiet()

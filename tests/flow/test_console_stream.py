"""The console's live stream while rights change: nobody is shown what they may not see, nor kept from what they may."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

import httpx
from town import Town, signed_in
from townsfolk import SETUP

from api.pages.live import Hub
from api.pages.model import Who
from api.pages.source import Source
from domain.grants import GrantRole


class Watching:
    """A browser's stream of one warning: what it was told so far, and whether that was the end."""

    def __init__(self) -> None:
        self.text, self.ended = "", False

    @property
    def rows(self) -> set[str]:
        """The nodes that it was shown."""
        return set(re.findall(r'data-node="([^"]+)"', self.text))

    async def read(self, browser: httpx.AsyncClient, warning_id: str, since: int) -> None:
        path = f"/console/warnings/{warning_id}/stream?since={since}"
        async with browser.stream("GET", path, timeout=60) as answer:
            assert answer.status_code == 200
            async for part in answer.aiter_text():
                self.text += part
        self.ended = True


@asynccontextmanager
async def watching(town: Town, who: str, warning_id: str, since: int | None = None) -> AsyncIterator[Watching]:
    """From now on, where nothing else is said; begun when entered."""
    hub: Hub = town.live.server._app.state.hub
    before, made = hub.open, Watching()
    async with aclosing(await signed_in(town, who)) as browser:
        start = town.stores.views.position if since is None else since
        reading = asyncio.create_task(made.read(browser, warning_id, start))
        await town.until(lambda: hub.open > before and all(one._view.done() for one in list(hub.channels.values())))
        yield made
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


async def grant(town: Town, who: str, role: GrantRole, node: str) -> str:
    done = await town.stores.registry.give_grant(SETUP, person_id=who, role=role, node_id=node, bootstrap=True)
    await town.stores.follower.reached(done.position)
    return done.id


async def out(town: Town) -> str:
    """A warning that is out."""
    warning_id = await town.release()
    await town.quiet()
    town.read_all()
    return warning_id


async def test_rights_that_are_widened_show_nobody_else_more(the_town: Town) -> None:
    town = the_town
    await grant(town, "milan-deputy", GrantRole.STATION_HEAD, "milan")
    warning_id = await out(town)
    async with (
        watching(town, "milan-head", warning_id) as head,
        watching(town, "milan-deputy", warning_id) as deputy,
    ):
        await grant(town, "milan-head", GrantRole.DUTY_OFFICER, "office")
        await town.device("rome-head").reply("收到")
        await town.quiet()
        await town.device("milan-head").reply("收到")
        await town.until(lambda: "milan" in deputy.rows)
        assert deputy.rows == {"milan"}
        assert 'id="cancel"' not in deputy.text
        await town.until(lambda: head.ended)
        assert head.rows <= {"milan"}
        assert head.text.endswith("\nid: 0\n\n"), "and comes back for all of it"
        async with watching(town, "milan-head", warning_id, since=0) as again:
            await town.until(lambda: {"rome", "village"} <= again.rows)
    await town.quiet()
    town.read_all()


async def test_rights_that_are_withdrawn_keep_nothing_from_others(the_town: Town) -> None:
    town = the_town
    await grant(town, "officer1", GrantRole.COUNTY_OFFICER, "north")
    over_all = await grant(town, "county1", GrantRole.DUTY_OFFICER, "office")
    warning_id = await out(town)
    async with watching(town, "county1", warning_id) as county, watching(town, "officer1", warning_id) as officer:
        done = await town.stores.registry.revoke_grant(SETUP, over_all, reason="left")
        await town.stores.follower.reached(done.position)
        await town.device("village-head").reply("收到")
        await town.until(lambda: "village" in officer.rows, seconds=10)
        assert not officer.ended
        await town.until(lambda: county.ended)
        assert "village" not in county.rows
    await town.quiet()
    town.read_all()


async def test_the_same_nodes_for_another_action_are_another_scope(the_town: Town) -> None:
    """An administrator reads warnings and the tree, and no calls for help."""
    town = the_town
    source = Source(town.live.server._app.state.services)
    for who, top, below in (("milan-zh", "office", "north"), ("rome-zh", "north", "office")):
        await grant(town, who, GrantRole.ADMINISTRATOR, top)
        await grant(town, who, GrantRole.COUNTY_OFFICER, below)
    desk = town.live.server._app.state.services.desk
    one, other, first, second = (
        source.scope(Who(person_id=who, label="", may=frozenset(desk.may_anywhere(who))))
        for who in ("milan-zh", "rome-zh", "officer1", "officer2")
    )
    assert one != other
    assert first == second

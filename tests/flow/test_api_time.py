"""What ends with time, and what happens when the log takes nothing more: each in a town of its own."""

from __future__ import annotations

from datetime import timedelta

from problems import denied, problem
from town import Town, console, signed_in
from townsfolk import SETUP

from domain.grants import GrantRole


async def test_a_grant_holds_for_its_time_alone(the_town: Town) -> None:
    done = await the_town.stores.registry.give_grant(
        SETUP,
        person_id="county1",
        role=GrantRole.DUTY_OFFICER,
        node_id="office",
        valid_to=the_town.clock.now() + timedelta(hours=1),
        bootstrap=True,
    )
    await the_town.stores.follower.reached(done.position)
    assert (await the_town.post("county1", "/v1/warnings", the_town.body())).status_code == 201

    await the_town.pass_time(minutes=59, seconds=59)
    assert (await the_town.post("county1", "/v1/warnings", the_town.body())).status_code == 201
    await the_town.pass_time(seconds=1)
    assert denied(await the_town.post("county1", "/v1/warnings", the_town.body()))


async def test_a_log_that_takes_nothing_is_503(the_town: Town) -> None:
    await the_town.token("officer1")
    await the_town.draft()
    await the_town.stores.log.close()
    problem(await the_town.post("officer1", "/v1/warnings", the_town.body()), 503, "log.closed")


async def test_credentials_end_with_their_time(the_town: Town) -> None:
    browser = await signed_in(the_town, "officer1")
    link = await the_town.login_link("officer1")
    bearer = {"Authorization": f"Bearer {await the_town.token('officer1', timedelta(hours=2))}"}
    await the_town.pass_time(minutes=15)
    assert (await browser.post(link)).status_code == 409
    await the_town.pass_time(minutes=104, seconds=59)
    assert (await the_town.http.get("/v1/warnings", headers=bearer)).status_code == 200
    await the_town.pass_time(seconds=1)
    problem(await the_town.http.get("/v1/warnings", headers=bearer), 401, "token.invalid")
    assert await console(browser) == 200
    await the_town.pass_time(hours=10)
    assert await console(browser) == 401
    await browser.aclose()

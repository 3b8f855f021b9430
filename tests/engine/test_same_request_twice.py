"""A key makes a request good for one time: repeated it is answered as before, whatever happened since."""

from __future__ import annotations

import asyncio

import pytest
from house import actor, content, stores

from api.commands import Once
from domain.errors import Refused, VersionConflict
from domain.grants import GrantRole
from domain.warnings import WarningDrafted, WarningReleased

KEY, OTHER_BODY = Once(key="k1", fingerprint="f1"), Once(key="k1", fingerprint="f2")


@pytest.fixture
async def s(tmp_path):
    async with stores(tmp_path) as opened:
        yield opened


def written(s, kind=object):
    return [r for r in s.log.read_now(0, 999) if isinstance(r.event, kind)]


ACTS = {
    "draft": lambda s, w, once: s.desk.draft(actor("officer1"), content(), once=once),
    "revise": lambda s, w, once: s.desk.revise(actor("officer1"), w, content(event="x"), once=once),
    "release": lambda s, w, once: s.desk.release(actor("officer2"), w, once=once),
    "cancel": lambda s, w, once: s.desk.cancel(actor("officer2"), w, reason="mistake", once=once),
    "open_case": lambda s, w, once: s.desk.open_case(actor("milan-head"), node_id="milan", text="x", once=once),
    "give_grant": lambda s, w, once: s.registry.give_grant(
        actor("admin"), person_id="guest", role=GrantRole.LIAISON, node_id="milan", once=once
    ),
}


@pytest.mark.parametrize("act", ACTS)
async def test_the_same_request_again_is_answered_as_before_and_another_is_refused(s, act):
    warning_id = (await s.desk.draft(actor("officer1"), content(event="another"))).id
    await s.catch_up()
    first = await ACTS[act](s, warning_id, KEY)
    await s.catch_up()
    end = await s.log.last_position()
    second = await ACTS[act](s, warning_id, KEY)
    with pytest.raises(Refused) as refused:
        await ACTS[act](s, warning_id, OTHER_BODY)

    assert (second.id, first.repeated, second.repeated) == (first.id, False, True)
    assert refused.value.code == "command.key_reused"
    assert (first.position, await s.log.last_position()) == (end, end)


async def test_the_same_request_ten_times_at_once_is_one_warning(s):
    done = await asyncio.gather(*[s.desk.draft(actor("officer1"), content(), once=KEY) for _ in range(10)])

    assert len({d.id for d in done}) == 1
    assert sum(not d.repeated for d in done) == 1
    assert len(written(s, WarningDrafted)) == 1


async def test_two_people_may_use_the_same_key(s):
    one = await s.desk.draft(actor("officer1"), content(), once=KEY)
    two = await s.desk.draft(actor("officer2"), content(), once=KEY)

    assert (two.repeated, one.id != two.id) == (False, True)


async def test_a_refusal_does_not_use_up_the_key(s):
    warning_id = (await s.desk.draft(actor("officer1"), content())).id
    await s.catch_up()
    with pytest.raises(Refused):
        await s.desk.release(actor("officer1"), warning_id, once=KEY)
    end = await s.log.last_position()

    done = await s.desk.release(actor("officer1"), warning_id, break_glass=True, reason="alone", once=KEY)
    assert (done.repeated, done.position) == (False, end + 2)


async def test_a_release_is_answered_the_same_after_the_warning_was_cancelled(s):
    warning_id = (await s.desk.draft(actor("officer1"), content())).id
    await s.catch_up()
    await s.desk.release(actor("officer2"), warning_id, once=KEY)
    await s.desk.cancel(actor("officer1"), warning_id, reason="mistake")

    assert (await s.desk.release(actor("officer2"), warning_id, once=KEY)).repeated is True
    with pytest.raises(Refused):
        await s.desk.release(actor("officer2"), warning_id)


async def test_two_officers_who_release_at_once_are_one_release(s):
    warning_id = (await s.desk.draft(actor("officer1"), content())).id
    await s.catch_up()
    await s.registry.give_grant(actor("admin"), person_id="officer3", role=GrantRole.DUTY_OFFICER, node_id="office")
    await s.catch_up()
    await asyncio.gather(*[s.desk.release(actor(f"officer{2 + n % 2}"), warning_id) for n in range(6)])

    assert len(written(s, WarningReleased)) == 1


async def test_who_decided_on_an_old_version_is_told_so(s):
    warning_id = (await s.desk.draft(actor("officer1"), content())).id
    await s.catch_up()
    await s.desk.revise(actor("officer1"), warning_id, content(event="x"), expected_version=1)
    for act in (
        lambda: s.desk.revise(actor("officer1"), warning_id, content(event="y"), expected_version=1),
        lambda: s.desk.release(actor("officer2"), warning_id, expected_version=1),
        lambda: s.desk.cancel(actor("officer2"), warning_id, reason="r", expected_version=1),
    ):
        with pytest.raises(VersionConflict) as stale:
            await act()
        assert stale.value.code == "version.stale"

    assert (await s.desk.release(actor("officer2"), warning_id, expected_version=2)).position > 0


async def test_an_update_is_released_together_with_the_end_of_the_warning_before(s):
    first = (await s.desk.draft(actor("officer1"), content())).id
    await s.catch_up()
    await s.desk.release(actor("officer2"), first)
    second = (await s.desk.draft(actor("officer1"), content(event="worse"), updates=first)).id
    await s.catch_up()
    end = await s.log.last_position()
    await s.desk.release(actor("officer2"), second)

    assert [(r.stream, type(r.event).__name__) for r in s.log.read_now(end, 9)] == [
        (f"warning-{second}", "WarningReleased"),
        (f"warning-{first}", "WarningUpdated"),
    ]


async def test_an_update_of_a_warning_that_ended_meanwhile_is_not_released(s):
    first = (await s.desk.draft(actor("officer1"), content())).id
    await s.catch_up()
    await s.desk.release(actor("officer2"), first)
    second = (await s.desk.draft(actor("officer1"), content(event="worse"), updates=first)).id
    await s.catch_up()
    await s.desk.cancel(actor("officer1"), first, reason="over")
    end = await s.log.last_position()
    with pytest.raises(Refused) as refused:
        await s.desk.release(actor("officer2"), second)

    assert (refused.value.code, await s.log.last_position()) == ("warning.cancelled", end)

"""The preview of a draft: whom its release would tell, in what words, at what cost, and what is new in it.

It asks the planner's own functions (api/told.py, domain/planning.py), so its numbers are those of the plan.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Literal

import msgspec
from fastapi import APIRouter

from api.audience import Asked
from api.auth import A, S
from api.preview_shapes import Charge, Cost, Difference, NodeCount, Phase, Preview, Sample, Some, TextMessage
from api.services import Services
from api.told import Pages, at_relay, at_release, holders, left_out
from api.warnings import visible
from domain import planning
from domain.errors import NotFound, Refused
from domain.grants import Action
from domain.people import ADDRESS, Channel, Person
from domain.planning import Told
from domain.ports import Vault
from domain.rulepacks import LevelRule, RulePack
from domain.shards import Circle, Purpose, ShardPlanned
from domain.stations import Hierarchy
from domain.warnings import Status, WarningState
from notifiers.channel import LINK, Rendered
from notifiers.links import Links
from notifiers.opened import opened as unsealed
from notifiers.prices import Prices
from notifiers.render import render
from notifiers.segments import encoding, segments
from projections import differences
from projections.follower import Views

router = APIRouter(prefix="/v1/warnings", tags=["warnings"])
NAMED = 200  # ids that a list of people shows; the number beside it is of all
OPENED = 500  # addresses opened at a time


@router.get("/{warning_id}/preview")
def read(warning_id: str, actor: A, s: S) -> Preview:
    """What the release of this draft would do: recipients, cost, words, the difference to the warning it updates."""
    row = visible(s, actor, warning_id)
    s.desk.allow(actor, Action.WARNING_DRAFT, row["content"]["target"]["nodes"])
    return of_draft(s, warning_id)


def of_draft(s: Services, warning_id: str) -> Preview:
    """For those who may see it; whether they may is the caller's to ask."""
    now = s.clock.now()
    return preview(s.views, s.desk.vault, s.links, s.prices, s.desk.rules(now), warning_id, now)


def preview(
    views: Views, vault: Vault, links: Links, prices: Prices, pack: RulePack, warning_id: str, now: datetime
) -> Preview:
    """Raises NotFound, and Refused for what is no draft."""
    with views.reading() as db:
        row, warning = views.warnings.one(db, warning_id), views.warnings.state(db, warning_id)
        if row is None or warning is None:
            raise NotFound("warning.unknown", "There is no such warning.")
        if warning.status is not Status.DRAFT:
            raise Refused("warning.not_a_draft", f"The warning is {warning.status}; a preview is of a draft.")
        as_of = views.position
        rule = pack.levels[warning.content.level]
    asked = Asked(views, vault, as_of, now)
    release = at_release(asked, warning, rule)
    relay = at_relay(asked, release.nodes, warning.content.target, rule)
    (at_once, told_at_once), (on_relay, told_on_relay) = _all(release.pages), _all(relay.pages)
    plans = [_plan(told, warning, rule) for told in (told_at_once, told_on_relay)]
    difference = _difference(asked, warning, [*told_at_once, *told_on_relay], pack)
    shards = [*plans[0], *plans[1]]
    said = _rendered(warning, shards, rule, now, links)
    return Preview(
        warning_id=warning_id,
        version=row["version"],
        as_of=as_of,
        level=warning.content.level.value,
        lane=planning.lane_of(warning, rule).value,
        drill=warning.content.drill,
        sandboxed=warning.sandboxed,
        correction=warning.correction,
        phases=[
            _phase("at_once", plans[0], at_once, asked.hierarchy),
            _phase("on_relay", plans[1], on_relay, asked.hierarchy),
        ],
        difference=difference,
        text_messages=_text_messages(shards, said),
        cost=_cost(views, vault, prices, shards, said),
        samples=[_sample(*kind, said[kind[1], kind[2]]) for kind in _kinds(shards)],
    )


def _all(pages: Pages) -> tuple[list[Person], list[Told]]:
    """(everybody who is meant, everybody who is told)."""
    meant: list[Person] = []
    everybody: list[Told] = []
    for people, told in pages:
        meant += people
        everybody += told
    return meant, everybody


def _plan(told: Iterable[Told], warning: WarningState, rule: LevelRule) -> list[ShardPlanned]:
    return planning.plan(told, trigger_event_id="preview", warning=warning, rule=rule, purpose=Purpose.NOTICE)


def _phase(
    when: Literal["at_once", "on_relay"], plan: Sequence[ShardPlanned], meant: Sequence[Person], hierarchy: Hierarchy
) -> Phase:
    circles: dict[str, dict[Circle, set[str]]] = {}
    languages: dict[str, set[str]] = {}
    for shard in plan:
        circles.setdefault(shard.node_id, {}).setdefault(shard.circle, set()).update(shard.recipients)
        languages.setdefault(shard.language, set()).update(shard.recipients)
    without = Counter(person.node_id for person in meant if not person.channels)
    nodes = [
        NodeCount(
            node_id=node_id,
            name_zh=hierarchy.nodes[node_id].name_zh,
            name_en=hierarchy.nodes[node_id].name_en,
            country=hierarchy.nodes[node_id].country,
            staff=len(circles.get(node_id, {}).get(Circle.STAFF, ())),
            people=len(circles.get(node_id, {}).get(Circle.PEOPLE, ())),
            without_channel=without[node_id],
        )
        for node_id in sorted(circles.keys() | without.keys())
    ]
    countries: Counter[str] = Counter()
    for node in nodes:
        countries[node.country] += node.staff + node.people
    channels: Counter[str] = Counter()
    for shard in plan:
        channels[shard.channel.value] += len(shard.recipients)
    return Phase(
        when=when,
        people=len({person_id for shard in plan for person_id in shard.recipients}),
        messages=channels.total(),
        shards=len(plan),
        without_channel=without.total(),
        by_channel=dict(sorted(channels.items())),
        by_language={language: len(people) for language, people in sorted(languages.items())},
        by_country=dict(sorted(countries.items())),
        by_node=nodes,
    )


def _difference(asked: Asked, warning: WarningState, told: Sequence[Told], pack: RulePack) -> Difference | None:
    with asked.views.reading() as db:
        before = asked.views.warnings.state(db, warning.updates) if warning.updates else None
        if before is None:
            return None
        had = {t.person_id for t in holders(asked.views, db, before.warning_id)}
        relays = asked.views.tree.rows(db, before.warning_id)
    direct = pack.levels[before.content.level].direct
    over = {t.person_id for t in left_out(asked, before.warning_id, warning)}
    return Difference(
        updates=before.warning_id,
        newly=_some({t.person_id for t in told} - had),
        stays=_some(had - over),
        no_longer=_some(over),
        left_silent=sorted(n for n, row in relays.items() if not _settled(row, direct)) if warning.correction else [],
        texts=differences.texts(before.content.texts, warning.content.texts),
    )


def _settled(relay: Mapping[str, Any], direct: bool) -> bool:
    """Whether a node has done its part: it acknowledged, and its people were told."""
    return relay["acknowledged_at"] is not None and (direct or relay["relayed_at"] is not None)


def _some(people: set[str]) -> Some:
    return Some(count=len(people), person_ids=sorted(people)[:NAMED])


def _kinds(shards: Sequence[ShardPlanned]) -> list[tuple[Channel, str, Circle]]:
    return sorted({(shard.channel, shard.language, shard.circle) for shard in shards})


def _rendered(
    warning: WarningState, shards: Sequence[ShardPlanned], rule: LevelRule, now: datetime, links: Links
) -> dict[tuple[str, Circle], Rendered]:
    """By language and circle, with a link as long as those that are sent."""
    link = links.link("0" * 32, 0)
    found: dict[tuple[str, Circle], Rendered] = {}
    for language, circle in sorted({(shard.language, shard.circle) for shard in shards}):
        said = render(
            warning,
            purpose=Purpose.NOTICE,
            circle=circle,
            language=language,
            now=now,
            lane=planning.lane_of(warning, rule),
        )
        filled = {name: getattr(said, name).replace(LINK, link) for name in ("text", "short", "push", "voice")}
        found[language, circle] = msgspec.structs.replace(said, **filled)
    return found


def _text_messages(shards: Sequence[ShardPlanned], said: dict[tuple[str, Circle], Rendered]) -> list[TextMessage]:
    counts: Counter[tuple[str, Circle]] = Counter()
    for shard in shards:
        if shard.channel is Channel.SMS:
            counts[shard.language, shard.circle] += len(shard.recipients)
    return [
        TextMessage(
            language=language,
            circle=circle.value,
            encoding=encoding(said[language, circle].short),
            characters=len(said[language, circle].short),
            segments=segments(said[language, circle].short),
            messages=n,
        )
        for (language, circle), n in sorted(counts.items())
    ]


def _cost(
    views: Views,
    vault: Vault,
    prices: Prices,
    shards: Sequence[ShardPlanned],
    said: dict[tuple[str, Circle], Rendered],
) -> Cost:
    """By the prefixes of the numbers, which the program alone opens: nothing but the sums leaves this function."""
    messages: Counter[tuple[str, str]] = Counter()
    parts: Counter[tuple[str, str]] = Counter()
    amounts: dict[tuple[str, str], Decimal] = {}
    for shard in shards:
        if shard.channel not in (Channel.SMS, Channel.VOICE):
            continue
        sms = shard.channel is Channel.SMS
        each = segments(said[shard.language, shard.circle].short) if sms else 1
        for phone in _phones(views, vault, shard):
            prefix, price = prices.of(shard.channel, phone)
            key = (shard.channel.value, prefix)
            messages[key] += 1
            parts[key] += each if sms else 0
            if price is not None:
                amounts[key] = amounts.get(key, Decimal(0)) + price * each
    return Cost(
        currency=prices.currency,
        total=sum(amounts.values(), Decimal(0)),
        unknown=sum(n for key, n in messages.items() if key not in amounts),
        charges=[
            Charge(channel=key[0], prefix=key[1], messages=n, segments=parts[key], amount=amounts.get(key))
            for key, n in sorted(messages.items())
        ],
    )


def _phones(views: Views, vault: Vault, shard: ShardPlanned) -> Iterable[str]:
    """The number of each recipient, empty where there is none any more."""
    field = ADDRESS[shard.channel]
    for start in range(0, len(shard.recipients), OPENED):
        people = shard.recipients[start : start + OPENED]
        with views.reading() as db:
            sealed = views.directory.sealed(db, people)
        opened = unsealed(vault, [sealed[p] for p in people if p in sealed])
        numbers = [str((fields or {}).get(field, "")) for fields in opened]
        yield from numbers
        yield from [""] * (len(people) - len(numbers))


def _sample(channel: Channel, language: str, circle: Circle, said: Rendered) -> Sample:
    match channel:
        case Channel.SMS:
            subject, text = "", said.short
        case Channel.VOICE:
            subject, text = "", said.voice or said.short
        case Channel.WEBPUSH:
            subject, text = said.subject, said.push or said.short
        case _:
            subject, text = said.subject, said.text
    return Sample(channel=channel.value, language=language, circle=circle.value, subject=subject, text=text)

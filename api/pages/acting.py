"""Turns what the console's forms say into commands of the desk."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from api import capmap, countries
from api.auth import correlation
from api.commands import Actor
from api.pages.model import DraftForm, Who
from api.services import Services
from api.warnings import top_node
from domain.content import Area, ContactCard, Content, Target, Text
from domain.errors import InvalidInput
from domain.rulepacks import Level
from domain.whereabouts import zone_of


class Desk:
    """The console's acting side: each act is a command of api/desk.py, done when the views show it."""

    def __init__(self, s: Services) -> None:
        self._s = s

    async def draft(self, who: Who, form: DraftForm) -> str:
        content = await asyncio.to_thread(self._content, form)
        done = await self._s.desk.draft(self._actor(who), content)
        await self._s.progress.reached(done.position)
        return done.id

    async def draft_from_cap(self, who: Who, data: bytes) -> str:
        def drafted() -> tuple[Content, str]:
            alert = capmap.one_alert(data)
            return capmap.content_of(alert, data, target=top_node(self._s))

        content, warning_id = await asyncio.to_thread(drafted)
        done = await self._s.desk.draft(self._actor(who), content, warning_id=warning_id)
        await self._s.progress.reached(done.position)
        return done.id

    async def release(
        self,
        who: Who,
        warning_id: str,
        *,
        version: int,
        break_glass: bool,
        reason: str,
        real_channels: bool = False,
    ) -> None:
        done = await self._s.desk.release(
            self._actor(who),
            warning_id,
            break_glass=break_glass,
            reason=reason,
            real_channels=real_channels,
            expected_version=version,
        )
        await self._s.progress.reached(done.position)

    async def cancel(self, who: Who, warning_id: str, *, version: int, reason: str) -> None:
        done = await self._s.desk.cancel(self._actor(who), warning_id, reason=reason, expected_version=version)
        await self._s.progress.reached(done.position)

    def _actor(self, who: Who) -> Actor:
        return Actor(person_id=who.person_id, correlation_id=correlation(self._s))

    def _content(self, form: DraftForm) -> Content:
        now = self._s.clock.now()
        texts = [
            Text(language=tag, headline=head.strip(), description=words.strip(), instruction=advice.strip())
            for tag, head, words, advice in (
                ("zh-CN", form.headline_zh, form.description_zh, form.instruction_zh),
                ("en", form.headline_en, form.description_en, form.instruction_en),
            )
            if head.strip()
        ]
        return Content(
            event=form.event.strip() or (texts[0].headline if texts else ""),
            level=content_level(form.level),
            texts=tuple(texts),
            area=Area(description=form.area.strip() or "—"),
            target=Target(nodes=(top_node(self._s),), countries=countries_in(self._s, form.countries)),
            contact=ContactCard(
                hotline=form.hotline.strip(), mission=form.mission.strip(), police=form.police.strip(), valid_from=now
            ),
            effective_at=now,
            expires_at=moment_in(form.expires, form.zone),
            drill=form.drill == "yes",
        )


def content_level(said: str) -> Level:
    """Raises InvalidInput."""
    try:
        return Level(said)
    except ValueError as error:
        raise InvalidInput("warning.level", "The level is blue, yellow, orange or red.") from error


def countries_in(s: Services, said: str) -> tuple[str, ...]:
    """Raises InvalidInput."""
    with s.views.reading() as db:
        return countries.written(said, s.views.directory.hierarchy(db))


def moment_in(local: str, zone: str) -> datetime:
    """A form's `YYYY-MM-DDTHH:MM` in a zone (IANA). Raises InvalidInput."""
    try:
        known = zone_of(zone)
        if known is None:
            raise ValueError(zone)
        return datetime.fromisoformat(local).replace(tzinfo=known).astimezone(UTC)
    except (ValueError, OverflowError) as error:  # the first or the last hours of the calendar are not in it elsewhere
        raise InvalidInput(
            "warning.expires", "The time of expiry cannot be read.", "Choose a date, a time and a time zone."
        ) from error

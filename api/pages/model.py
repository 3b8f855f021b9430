"""What the console shows and what it asks for: the shapes behind the pages, and the port that fills them.

Pages know nothing of SQL or of the log; api/pages/source.py fills these from the views, tests fill them by hand.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

import msgspec

from api.preview_shapes import Preview


class WarningLine(msgspec.Struct, frozen=True, kw_only=True):
    """One warning: `level` blue to red, `status` draft, released, updated, cancelled or expired.

    `texts` are (language, headline, description, instruction). With `version`, which what is done to it must name, they
    come from one reading: nobody releases words under the version of others. `real_channels`: a drill that went to the
    real providers.
    """

    warning_id: str
    headline: str
    level: str
    status: str
    event: str
    drafted_by: str
    released_by: str | None
    effective_at: datetime
    expires_at: datetime
    updates: str | None
    position: int
    version: int
    texts: tuple[tuple[str, str, str, str], ...]
    contact: Contact
    drill: bool = False
    correction: bool = False
    real_channels: bool = False


class Contact(msgspec.Struct, frozen=True, kw_only=True):
    """Whom to call."""

    hotline: str
    mission: str
    police: str


class TreeLine(msgspec.Struct, frozen=True, kw_only=True):
    """One node of a warning's tree. Counts are people, rolled up over the node and all below it (`own_` without).

    `state`: waiting (not concerned yet), told, delivered, partial (too few acknowledged), acknowledged, relayed,
    escalated (silent, chased), asleep (its people were told over its head). `late`: it answered after an escalation.
    `signed` of `quota` of its staff have acknowledged. `silent_s`: how long nobody had answered when its people were
    told directly.
    """

    node_id: str
    parent: str | None
    depth: int
    kind: str
    name: str
    country: str
    lat: float
    lon: float
    state: str
    late: bool
    escalations: tuple[str, ...]
    acknowledged_at: datetime | None
    relayed_at: datetime | None
    recipients: int
    told: int
    delivered: int
    acknowledged: int
    help: int
    unreached: int
    own_recipients: int
    position: int
    quota: int = 1
    signed: int = 0
    steps: tuple[Step, ...] = ()
    silent_s: int | None = None
    held: int = 0  # people who are told in their morning


class Step(msgspec.Struct, frozen=True, kw_only=True):
    """A step of an escalation: what, when, and how many were told (none known while it is being planned)."""

    action: str
    at: datetime
    told: int | None


class Summary(msgspec.Struct, frozen=True, kw_only=True):
    """The figures at the top, of the nodes that the reader may see: people, and messages sent by channel."""

    recipients: int
    told: int
    delivered: int
    acknowledged: int
    help: int
    unreached: int
    nodes: int
    nodes_acknowledged: int
    nodes_relayed: int
    nodes_escalated: int
    sent: dict[str, int]
    position: int
    held: int = 0


class HelpLine(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody who asked for help: the case that was opened. No name: opening it is an act of its own. `drill`: they
    answered a drill.

    `unclear`: an answer that nobody understood, and a person has to read; there is no case.
    """

    case_id: str
    node_id: str
    node_name: str
    person_id: str | None
    status: str
    opened_at: datetime
    drill: bool = False
    unclear: bool = False


class Help(msgspec.Struct, frozen=True, kw_only=True):
    """Who asked for help, those who wait longest first; after them the answers that a person has to read.

    `lines` may be fewer than there are: `cases` and `unread` are all of them.
    """

    lines: tuple[HelpLine, ...]
    cases: int
    unread: int


class WarningList(msgspec.Struct, frozen=True, kw_only=True):
    """Warnings, newest first. `older`: where the list goes on, None at its end."""

    lines: tuple[WarningLine, ...]
    older: int | None


class Who(msgspec.Struct, frozen=True, kw_only=True):
    """Who is looking. `may` are names of actions (domain/grants.py) that some grant of theirs allows somewhere."""

    person_id: str
    label: str
    may: frozenset[str]


class ConsoleSource(Protocol):
    """Where pages read from. `language` is `zh` or `en`: names and headlines come in it where there is one."""

    def warnings(self, who: Who, language: str, before: int | None = None) -> WarningList:
        """The newest, or from where another list ended."""

    def warning(self, who: Who, warning_id: str, language: str) -> WarningLine | None: ...

    def tree(self, who: Who, warning_id: str, language: str, since: int = 0) -> Sequence[TreeLine]:
        """The nodes that changed after position `since`, parents before children; all of them for 0."""

    def summary(self, who: Who, warning_id: str) -> Summary: ...

    def help(self, who: Who, warning_id: str, language: str) -> Help: ...

    def preview(self, who: Who, warning_id: str) -> Preview:
        """What a release would do. Raises domain.errors.FenghuoError for what is no draft, or may not be previewed."""

    def position(self) -> int:
        """The log position that all of this shows."""

    async def changed(self, after: int) -> int:
        """Returns the new position once the views stand at one above `after`."""


class ConsoleDesk(Protocol):
    """What pages can do. Each raises domain.errors.FenghuoError where it may or can not be done: VersionConflict where
    `version`, that of the warning as its reader saw it, is not the one that stands."""

    async def draft(self, who: Who, form: DraftForm) -> str:
        """A new draft; its id."""

    async def draft_from_cap(self, who: Who, data: bytes) -> str: ...

    async def release(
        self,
        who: Who,
        warning_id: str,
        *,
        version: int,
        break_glass: bool,
        reason: str,
        real_channels: bool = False,
    ) -> None: ...

    async def cancel(self, who: Who, warning_id: str, *, version: int, reason: str) -> None: ...


class DraftForm(msgspec.Struct, frozen=True, kw_only=True):
    """The draft form as sent. Times are local to `zone` (IANA), as `YYYY-MM-DDTHH:MM`; `drill` is `yes` or empty."""

    level: str
    event: str
    headline_zh: str
    description_zh: str
    instruction_zh: str
    headline_en: str
    description_en: str
    instruction_en: str
    countries: str
    area: str
    hotline: str
    mission: str
    police: str
    expires: str
    zone: str
    drill: str = ""

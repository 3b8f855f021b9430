"""Dead letters: messages that nobody could read, and shards that failed again and again for no reason that is known.

They lie in a compacted topic of one partition by their id; an empty message takes one back. While a shard lies here
it is not announced to workers, unless something new happens to it.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
import structlog

from domain.errors import FenghuoError, NotFound, Refused
from domain.people import Channel
from domain.rulepacks import Lane
from infra.kafka.clients import answered, consumer, ensured, parts_of, producer, whole
from infra.kafka.messages import Due, Letter, encode, read_due, read_letter
from infra.kafka.settings import KafkaConfig
from notifiers.worker import Queue, Waiting

_log = structlog.get_logger("fenghuo.dead")

COMPACT = {"cleanup.policy": "compact"}
AGAIN_S = 2.0


class Laid(NamedTuple):
    """What lies here: letters, oldest first, and the ids of those that cannot be read (perhaps a newer program's)."""

    letters: list[Letter]
    unreadable: list[str]


async def laid(config: KafkaConfig) -> Laid:
    """What lies here. Raises Unreachable."""
    found: dict[str, Letter | None] = {}
    for record in await whole(config, config.dead):
        _take(found, record)
    readable = [letter for letter in found.values() if letter is not None]
    return Laid(
        sorted(readable, key=lambda letter: letter.at),
        sorted(letter_id for letter_id, letter in found.items() if letter is None),
    )


async def letters(config: KafkaConfig) -> list[Letter]:
    """Those that can be read, oldest first. Raises Unreachable."""
    return (await laid(config)).letters


async def redrive(config: KafkaConfig, letter_ids: Sequence[str] | None = None) -> list[Letter]:
    """Sends letters (None: all) to their lanes again, their failures forgotten, and takes them from here.

    Those that cannot be read stay. Raises NotFound for an id that is not here, Refused for one that cannot be read, and
    Unreachable.
    """
    found = await laid(config)
    there = {letter.letter_id: letter for letter in found.letters}
    chosen = list(there) if letter_ids is None else list(dict.fromkeys(letter_ids))
    if odd := [letter_id for letter_id in chosen if letter_id in found.unreadable]:
        raise Refused("dead.unreadable", f"The dead letter {odd[0]} cannot be read.", "A newer program may know it.")
    if unknown := [letter_id for letter_id in chosen if letter_id not in there]:
        raise NotFound("dead.unknown", f"There is no dead letter {unknown[0]}.", "See them: fenghuo dead list")
    if not chosen:
        return []
    async with producer(config) as sending:
        with answered():
            for letter in (there[letter_id] for letter_id in chosen):
                body = letter.body
                if letter.shard_id:
                    body = encode(msgspec.structs.replace(read_due(body), failures=0))
                key = (letter.shard_id or letter.letter_id).encode()
                await sending.send_and_wait(config.lane(letter.lane), body, key=key)
                await sending.send_and_wait(config.dead, None, key=letter.letter_id.encode())
    return [there[letter_id] for letter_id in chosen]


class DeadWatch:
    """Knows what lies here while it runs. `loaded` is set once it has read it for the first time."""

    def __init__(self, config: KafkaConfig) -> None:
        self._config = config
        self._letters: dict[str, Letter | None] = {}
        self._fault = ""  # the one that was said last: brokers may be away for long
        self.loaded = asyncio.Event()

    def holds(self, found: Due | Waiting) -> bool:
        """Whether this shard lies here and nothing has happened to it since."""
        letter = self._letters.get(found.shard_id)
        return letter is not None and found.position <= letter.position

    def take(self, table: Queue, now: datetime, worker: str, limit: int) -> list[Waiting]:
        """What a table has to take and does not lie here, of each lane and channel at most `limit`."""
        letters = list(self._letters.values())  # a copy: this is asked in other threads
        # What lies here is due there still, and comes first since it is the oldest.
        aside = sum(letter is not None and letter.shard_id != "" for letter in letters)
        counts: Counter[tuple[Lane, Channel]] = Counter()
        found: list[Waiting] = []
        for waiting in table.take(now, worker, limit + aside):
            kind = (waiting.lane, waiting.channel)
            if counts[kind] < limit and not self.holds(waiting):
                counts[kind] += 1
                found.append(waiting)
        return found

    async def run(self) -> None:
        while True:
            try:
                await self._follow()
            except FenghuoError as error:
                if error.code != self._fault:
                    _log.error("dead_letters_unread", code=error.code, said=str(error))
                self._fault = error.code
            await asyncio.sleep(AGAIN_S)

    async def _follow(self) -> None:
        config = self._config
        await ensured(config, {config.dead: COMPACT}, 1)
        parts = await parts_of(config, config.dead)
        async with consumer(config) as reading:
            with answered():
                ends = await reading.end_offsets(parts)
                reading.assign(parts)
                await reading.seek_to_beginning(*parts)
                while True:
                    if all([await reading.position(part) >= ends[part] for part in parts]):
                        self._read()
                    for records in (await reading.getmany(timeout_ms=500)).values():
                        for record in records:
                            _take(self._letters, record)

    def _read(self) -> None:
        self._fault = ""
        self.loaded.set()


def _take(found: dict[str, Letter | None], record: Any) -> None:
    """Takes in one message: a letter, the end of one, or (None) what nobody here can read."""
    letter_id = (record.key or b"").decode(errors="replace") or f"{record.partition}-{record.offset}"
    if record.value is None:
        found.pop(letter_id, None)
        return
    try:
        letter = read_letter(record.value)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        _log.warning("dead_letter_unreadable", letter_id=letter_id)
        found[letter_id] = None
        return
    found[letter.letter_id] = letter

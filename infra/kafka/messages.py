"""What goes over the lanes: a shard that is due, and what is laid aside of them."""

from __future__ import annotations

from datetime import datetime

import msgspec

from domain.people import Channel
from domain.rulepacks import Lane
from notifiers.worker import Waiting


class Due(msgspec.Struct, frozen=True, omit_defaults=True):
    """A shard with something to send, as the queue's view knew it at the log's position. `stale` as in `Waiting`;
    `failures`: how often it failed for a reason that nobody foresaw. Unknown fields are let be.
    """

    shard_id: str
    lane: Lane
    channel: Channel
    position: int
    stale: bool = False
    failures: int = 0

    @property
    def waiting(self) -> Waiting:
        return Waiting(self.shard_id, self.lane, self.channel, self.position, self.stale)


class Letter(msgspec.Struct, frozen=True, kw_only=True):
    """A message that was laid aside, and why. `body` is the message, `letter_id` the shard's id or, where it could not
    be read, its place. `position` and `failures` are 0 then.
    """

    letter_id: str
    lane: Lane
    reason: str
    at: datetime
    body: bytes
    shard_id: str = ""
    position: int = 0
    failures: int = 0


encode = msgspec.json.Encoder().encode
read_due = msgspec.json.Decoder(Due).decode
read_letter = msgspec.json.Decoder(Letter).decode


def due(waiting: Waiting) -> Due:
    return Due(waiting.shard_id, waiting.lane, waiting.channel, waiting.position, waiting.stale)

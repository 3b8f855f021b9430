"""Moving house: the log with its positions, the vault's rows and the signed checkpoints, from one storage to another.

Views are not moved: they are folded anew where the log now is. The source must rest while it is copied; that it did is
checked at the end, against what it was at the beginning: what somebody wrote after the vault was copied may be a new
person, whose key would be missing, or one who was forgotten, whose key would live on.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
from eventsourcing.persistence import PersistenceError, StoredEvent

from domain.errors import InvalidInput, Refused, Unreachable, VerificationFailed
from infra.key_file import KEY_FILE, kept_key, read_key
from infra.keys import TABLES
from infra.storage import Storage

PORTION = 2000


class Copied(msgspec.Struct, kw_only=True):
    """How much was copied. `position` is the log's last."""

    events: int = 0
    position: int = 0
    checkpoints: int = 0
    vault_rows: int = 0


def copy(source: Storage, target: Storage, on_event: Callable[[int], None] = lambda _: None) -> Copied:
    """Copies everything. Raises Refused for a target that holds something, or a source that changed meanwhile."""
    try:
        if target.log.max_notification_id() or target.checkpoints.latest() or any(map(target.keys.count, TABLES)):
            raise Refused("copy.not_empty", "The target is not empty.", "Name a new folder or a new schema.")
        done, before = Copied(), _state(source)
        # Checkpoints first: a copy that was broken off is known by them for what it is.
        checkpoints = source.checkpoints.all()
        target.checkpoints.add(checkpoints)
        done.checkpoints = len(checkpoints)
        for table in TABLES:
            for rows in source.keys.portions(table, PORTION):
                target.keys.take_over(table, rows)
                done.vault_rows += len(rows)
        _events(source, target, done, on_event)
        if not (before == _state(source) and before[0] == done.position):
            raise Refused(
                "copy.grew", "The source was written to while it was copied.", "Stop what runs there, and begin anew."
            )
    except PersistenceError as error:
        raise Unreachable("copy.failed", f"A log could not be read or written: {error}.", "Begin anew.") from error
    return done


def _state(source: Storage) -> tuple[int, int]:
    """The log's end, and a number that is another one after a key was destroyed."""
    return source.log.max_notification_id() or 0, source.keys.version()


def _events(source: Storage, target: Storage, done: Copied, on_event: Callable[[int], None]) -> None:
    while batch := source.log.select_notifications(done.position, PORTION, inclusive_of_start=False):
        stored = [StoredEvent(n.originator_id, n.originator_version, n.topic, n.state) for n in batch]
        positions = list(target.log.insert_events(stored) or ())
        if positions != [n.id for n in batch]:  # each position is hashed into the proof
            raise VerificationFailed(
                "log.gap", f"A position between {done.position} and {batch[-1].id} is missing.", "Verify the source."
            )
        done.events += len(batch)
        done.position = batch[-1].id
        on_event(done.events)


def copy_master_key(source: Path, target: Path) -> None:
    """The file that opens the vault goes along. Raises Refused where there is another one at the target."""
    try:
        key = read_key(source)
    except OSError as error:
        raise InvalidInput("copy.master_key", f"There is no {KEY_FILE} in {source}.", "Name its folder.") from error
    if kept_key(target, lambda: key) != key:
        raise Refused("copy.master_key", f"There is another {KEY_FILE} in {target}.", "Put it away.")

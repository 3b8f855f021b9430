"""Proof of the log: an RFC 6962 Merkle tree over what is stored, and signed checkpoints of it.

A leaf is (position, stream, version, topic, state) as stored. The prover follows the log, extends the tree's frontier
and signs a checkpoint in the C2SP form now and then. `verify` derives everything again from the log and compares: an
edited event, a missing one and a tail trimmed below the last checkpoint are all noticed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator

import msgspec
import structlog
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eventsourcing.persistence import InterfaceError, Notification, OperationalError, PersistenceError

from domain.checkpoint import Checkpoint, Note, VerifierKey, open_checkpoint, sign
from domain.errors import FenghuoError, Unreachable, VerificationFailed
from domain.merkle import Frontier, leaf_hash
from infra.log.checkpoints import Checkpoints, Kept
from infra.log.store import EventLog
from infra.vault import FileVault

_log = structlog.get_logger("fenghuo.prover")

ORIGIN = "fenghuo.log"
BATCH = 1000
EVERY_S = 1.0  # a checkpoint at most this often


class Prover:
    """Keeps the frontier of the tree and every signed checkpoint."""

    def __init__(self, checkpoints: Checkpoints, log: EventLog, vault: FileVault) -> None:
        self._log = log
        self._checkpoints = checkpoints
        self._key = Ed25519PrivateKey.from_private_bytes(vault.secret("log-signing-key"))
        public = self._key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)
        self.verifier = VerifierKey(ORIGIN, public)

    async def run(self) -> None:
        while True:
            growth = self._log.growth()
            try:
                await asyncio.to_thread(self.extend)
            except FenghuoError as error:
                _log.error("proof_stopped", code=error.code)
            await growth.wait()
            await asyncio.sleep(EVERY_S)

    def extend(self) -> Checkpoint | None:
        """Takes in what the log has beyond the last checkpoint and signs a new one; returns the latest."""
        size, position, frontier = self._latest()
        grown = False
        for notification in self._notifications(position, None):
            frontier = frontier.append(leaf(notification))
            position, grown = notification.id, True
        if grown:
            checkpoint = Checkpoint(ORIGIN, frontier.size, frontier.root())
            text = checkpoint.text()
            note = Note(text, (sign(text, self.verifier, self._key.sign),)).encode()
            kept = Kept(frontier.size, position, msgspec.json.encode(frontier).decode(), note.decode())
            self._checkpoints.add([kept])
            return checkpoint
        return None if size == 0 else Checkpoint(ORIGIN, size, frontier.root())

    def note(self) -> str | None:
        """The latest signed checkpoint, as text that any C2SP tool reads."""
        latest = self._checkpoints.latest()
        return latest.note if latest else None

    def signed(self) -> int:
        """How many events the latest checkpoint covers."""
        return self._latest()[0]

    def signed_position(self) -> int:
        """The position of the last event that it covers; 0 where nothing was signed yet."""
        return self._latest()[1]

    def verify(self, on_event: Callable[[int], None] | None = None) -> int:
        """Hashes the whole log again and holds it against every checkpoint; returns the number of events.

        Raises VerificationFailed, naming the first position that does not fit.
        """
        frontier = Frontier()
        waiting = iter(self._checkpoints.all())
        following = next(waiting, None)
        before = 0
        for notification in self._notifications(0, None):
            if notification.id != before + 1:
                raise VerificationFailed("log.gap", f"Position {before + 1} of the log is missing.")
            before = notification.id
            frontier = frontier.append(leaf(notification))
            while following is not None and following.size == frontier.size:
                self._compare(following, frontier)
                following = next(waiting, None)
            if on_event is not None:
                on_event(notification.id)
        if following is not None:
            raise VerificationFailed(
                "log.trimmed",
                f"The log has {frontier.size} events; a signed checkpoint says that it had {following.size}.",
                "Events were removed from its end.",
            )
        return frontier.size

    def _compare(self, kept: Kept, frontier: Frontier) -> None:
        checkpoint = open_checkpoint(kept.note.encode(), self.verifier)
        if checkpoint.size != kept.size or checkpoint.root != frontier.root():
            raise VerificationFailed(
                "log.altered",
                f"The first {kept.size} events do not give the root that was signed for them.",
                "An event at or before this position was altered.",
            )

    def _latest(self) -> tuple[int, int, Frontier]:
        latest = self._checkpoints.latest()
        if latest is None:
            return 0, 0, Frontier()
        return latest.size, latest.position, msgspec.json.decode(latest.frontier, type=Frontier)

    def _notifications(self, after: int, upto: int | None) -> Iterator[Notification]:
        while True:
            try:
                batch = self._log.recorder.select_notifications(after, BATCH, upto, inclusive_of_start=False)
            except (PersistenceError, LookupError) as error:  # bytes that are no text, a column of another name
                if self._log.remote and isinstance(error, InterfaceError | OperationalError):
                    raise Unreachable("log.read_failed", "The log could not be read: its database is away.") from error
                raise VerificationFailed(
                    "log.unreadable", f"What the log holds after position {after} cannot be read.", "Restore a backup."
                ) from error
            if not batch:
                return
            yield from batch
            after = batch[-1].id

    def close(self) -> None:
        self._checkpoints.close()


def leaf(n: Notification) -> bytes:
    """The leaf hash of one stored event."""
    return leaf_hash(msgspec.json.encode([n.id, str(n.originator_id), n.originator_version, n.topic, n.state]))

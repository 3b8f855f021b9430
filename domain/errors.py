"""Every way in which Fenghuo says no, as one tree.

FenghuoError                  has a stable `code`, a sentence, and what to do next
├── Refused                   a rule says no; nothing was written (HTTP 409)
├── InvalidInput              the input itself is wrong (HTTP 422)
├── NotPermitted              no grant allows it (HTTP 403)
├── NotSignedIn               nobody said who is asking (HTTP 401)
├── NotFound                  no such thing (HTTP 404)
├── VersionConflict           somebody else was first; read again (HTTP 412)
├── Unreachable               a part that is needed does not answer (HTTP 503)
├── UnknownEvent              the log holds an event of a newer program (HTTP 503)
└── VerificationFailed        the log and what was derived from it disagree (exit status 3)
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime


class FenghuoError(Exception):
    """An error with a stable code (`warning.cancelled`), a sentence and a remedy, fit to be shown to a person.

    What the sentence names (`%(word)s`) stands in `names`, so that the sentence itself can be translated.
    """

    exit_status = 1

    def __init__(
        self, code: str, sentence: str, remedy: str = "", *, names: Mapping[str, object] | None = None
    ) -> None:
        message = sentence % names if names else sentence
        super().__init__(message)
        self.code = code
        self.sentence = sentence
        self.names = names
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} {self.remedy}".strip()


class Refused(FenghuoError):
    """A rule of the domain says no; nothing was written."""


class InvalidInput(FenghuoError):
    """The input is malformed, too large or contradicts itself."""

    exit_status = 2


class NotPermitted(FenghuoError):
    """No grant in force allows this actor to do this to that node at this time."""


class NotSignedIn(FenghuoError):
    """The request carries no credential, or one that is unknown, expired or revoked."""


class NotFound(FenghuoError):
    """There is no such thing, or the actor may not know of it."""


class VersionConflict(FenghuoError):
    """The stream moved on since it was read."""


class Unreachable(FenghuoError):
    """A database, provider or server that is needed does not answer."""

    exit_status = 4


class UnknownEvent(FenghuoError):
    """The log holds an event that this program does not know, since a newer one wrote it: whoever comes to it stops.

    `position` is the log's own number for it (0 where its stream was read), `recorded_at` when it was written.
    """

    def __init__(self, *, topic: str, stream: str, version: int, recorded_at: datetime, position: int = 0) -> None:
        super().__init__(
            "log.unknown_event",
            f"Event {version} of {stream} ({topic}) was written by a newer program.",
            "Nothing is skipped: upgrade this one.",
        )
        self.topic, self.stream, self.version = topic, stream, version
        self.recorded_at, self.position = recorded_at, position


class VerificationFailed(FenghuoError):
    """What is stored and what was derived from it disagree."""

    exit_status = 3

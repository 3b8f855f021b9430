"""Any server at all, however its replies are cut: each mail gets one answer, and the answer is true.

A model of a server reads what the line writes and decides by dice; what it knows of each mail is held against what the
line reported.
"""

from __future__ import annotations

import asyncio
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from notifiers.smtp import Line, Loss, Mail, Phase


class Far:
    """A transport with a server behind it. Replies come in pieces when `pump` is called."""

    def __init__(self, dice: Random, spite: float) -> None:
        self.dice, self.spite = dice, spite
        self.line: Line | None = None
        self.inbox = b""
        self.replies = b""
        self.sender = self.to = ""
        self.in_content = False
        self.whole: list[str] = []  # recipients whose content came with its end
        self.kept: list[str] = []  # recipients whose content was answered with 250
        self.nonsense: list[bytes] = []  # lines that are no command: a content that was taken for one
        self.closed = self.silent = False

    # What asyncio gives.
    def write(self, data: bytes) -> None:
        assert not self.closed
        self.inbox += data

    def set_protocol(self, protocol: Line) -> None:
        self.line = protocol

    def is_closing(self) -> bool:
        return self.closed

    def abort(self) -> None:
        self.closed = True

    # The server.
    def pump(self) -> bool:
        """One step; False where nothing moves any more."""
        if self.closed or self.line is None:
            return False
        if self.replies and (self.dice.random() < 0.7 or not self._complete()):
            size = self.dice.randint(1, len(self.replies))
            piece, self.replies = self.replies[:size], self.replies[size:]
            self.line.data_received(piece)
            return True
        if not self._complete():
            return False
        self._step()
        return True

    def _complete(self) -> bool:
        return not self.silent and b"\r\n" in self.inbox

    def _step(self) -> None:
        line, _, self.inbox = self.inbox.partition(b"\r\n")
        bad = self.dice.random() < self.spite
        if self.in_content:
            if line != b".":
                return
            self.in_content = False
            if self.to:
                self.whole.append(self.to)
                if not bad:
                    self.kept.append(self.to)
            self._say(
                b"250 2.0.0 OK" if self.to and not bad else b"", (b"451 later", b"554 5.6.0 no", b"250-a\r\n554 no")
            )
            self.sender = self.to = ""
        elif line.startswith(b"MAIL FROM:<s@x>"):
            good = not self.sender and not bad
            self.sender = "s" if good else self.sender
            self._say(b"250 OK" if good else b"", (b"451 no", b"550 5.7.1 no", b"250-x\r\n450 no"))
        elif line.startswith(b"RCPT TO:<"):
            good = bool(self.sender) and not bad
            self.to = line[9:-1].decode() if good else ""
            self._say(b"250 OK" if good else b"", (b"450 no", b"550 5.1.1 no"))
        elif line == b"DATA":
            good = bool(self.to) and not bad
            if not good and self.sender and self.dice.random() < 0.3:
                self.to, good = "", True  # asks for the content, of a mail that nobody may get
            self.in_content = good
            self._say(b"354 go on" if good else b"", (b"503 5.5.1 no", b"554 5.5.1 no", b"451 no"))
        elif line == b"RSET":
            self.sender = self.to = ""
            self._say(b"250 OK", ())
        else:
            self.nonsense.append(line)

    def _say(self, good: bytes, else_one_of: tuple[bytes, ...]) -> None:
        reply = good or self.dice.choice(else_one_of or (b"451 no",))
        match self.dice.random() / max(self.spite, 1e-9):
            case luck if luck < 0.1:
                self._lose()
            case luck if luck < 0.15:
                self.replies += b"421 4.3.2 closing\r\n"
                self.silent = True
            case luck if luck < 0.2:
                self.replies += b"what?\r\n"
            case luck if luck < 0.25:
                self.silent = True
            case _:
                self.replies += reply + b"\r\n"

    def _lose(self) -> None:
        if self.dice.random() < 0.5:
            self.replies = b""
        if self.line is not None:
            self.line.connection_lost(None)


class Feed:
    def __init__(self, people: list[str]) -> None:
        self.people = people[::-1]
        self.asked: dict[Mail, str] = {}
        self.said: dict[str, str] = {}
        self.ended = False

    def next(self, line: Line) -> Mail | None:
        if not self.people:
            return None
        to = self.people.pop()
        mail = Mail((b"MAIL FROM:<s@x>\r\n", b"RCPT TO:<%b>\r\n" % to.encode()), b"To: %b\r\n.\r\n" % to.encode())
        self.asked[mail] = to
        return mail

    def accepted(self, mail: Mail, text: str) -> None:
        self._say(mail, "accepted")

    def refused(self, mail: Mail, phase: Phase, code: int, text: str) -> None:
        assert 400 <= code < 600
        self._say(mail, "refused")

    def lost(self, mail: Mail, loss: Loss, *, first: bool) -> None:
        self._say(mail, "in doubt" if mail.handed else "not taken")

    def _say(self, mail: Mail, what: str) -> None:
        assert not self.ended
        assert self.said.setdefault(self.asked[mail], what) is what, "answered twice"

    def free(self, line: Line) -> None:
        pass

    def gone(self, line: Line) -> None:
        self.ended = True


@settings(max_examples=600, deadline=None)
@given(st.integers(), st.sampled_from([0.0, 0.05, 0.3, 0.8]), st.booleans(), st.integers(1, 12))
async def test_every_mail_is_answered_for_once_and_truly(seed: int, spite: float, pipelining: bool, count: int) -> None:
    far, feed = Far(Random(seed), spite), Feed([f"p{n}@x" for n in range(count)])
    line = Line(feed, feed, frozenset({"pipelining"} if pipelining else ()), timeout_s=3600)
    line.take_over(far)  # type: ignore[arg-type]
    line.begin()
    while far.pump():
        pass
    line.drop()  # nothing comes any more

    assert set(feed.said) == set(feed.asked.values()), "nobody is left without an answer"
    assert far.nonsense == [], "no content was read as commands"
    assert len(far.whole) == len(set(far.whole)), "no content went twice"
    for to, said in feed.said.items():
        match said:
            case "accepted":
                assert to in far.kept
            case "not taken":
                assert to not in far.whole
            case "refused":
                assert to not in far.kept or far.silent  # 421 may stand in place of 250
    assert spite or set(far.kept) == {f"p{n}@x" for n in range(count)}
    assert feed.ended
    assert asyncio.get_running_loop() is not None

"""Made-up people who answer warnings in the demonstration: by text message, or by the link that they were sent."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Container
from random import Random

import aiohttp

from infra.sandbox.push import PushMessage, SandboxPush
from infra.sandbox.sms import SandboxSms, SmsMessage
from infra.sandbox.smtp import Mail, SandboxSmtp

SAFE_WORDS = ("1", "收到", "safe")
HELP_WORDS = ("2 need help", "2 求助")
AT_ONCE = 64  # people answering at the same moment; more wait
_LINK = re.compile(r"https?://[^\s<>\"']+")


class SandboxPeople:
    """Answers what the sandbox providers deliver, with the given odds and after a random wait.

    `answers` and `needs_help` are probabilities: that a person answers at all, and that the answer is a call for
    help. People in `asleep` (phone numbers, mail addresses, ids of push subscriptions) never answer.
    """

    def __init__(
        self,
        random: Random,
        *,
        answers: float = 0.7,
        needs_help: float = 0.05,
        wait_s: tuple[float, float] = (0.2, 3.0),
        asleep: Container[str] = frozenset(),
        reply: Callable[[str, str], Awaitable[object]] | None = None,
    ) -> None:
        """`reply(number, text)` sends a text message back; without it that of the watched gateway is used."""
        self.safe = 0  # answers given so far
        self.help = 0
        self._random = random
        self._answers = answers
        self._needs_help = needs_help
        self._wait_s = wait_s
        self._asleep = asleep
        self._reply = reply
        self._session: aiohttp.ClientSession | None = None
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()

    def watch(
        self, *, sms: SandboxSms | None = None, smtp: SandboxSmtp | None = None, push: SandboxPush | None = None
    ) -> None:
        """From now on answers what these deliver."""
        if sms is not None:
            self._reply = self._reply or sms.reply
            sms.tally.listeners.append(self.got_sms)
        if smtp is not None:
            smtp.tally.listeners.append(self.got_mail)
        if push is not None:
            push.tally.listeners.append(self.got_push)

    def got_sms(self, message: SmsMessage) -> None:
        reply = self._reply
        if reply is None or not self._will_answer(message.to):
            return
        wanted = self._random.random() < self._needs_help
        words = self._random.choice(HELP_WORDS if wanted else SAFE_WORDS)

        async def answer() -> None:
            await reply(message.to, words)

        self._later(answer, wanted)

    def got_mail(self, mail: Mail) -> None:
        if self._will_answer(mail.to):
            body = mail.parsed().get_body(("plain",))
            self._follow(_LINK.search(body.get_content()) if body else None)

    def got_push(self, message: PushMessage) -> None:
        if self._will_answer(message.subscription):
            self._follow(_LINK.search(str(message.data().get("url", ""))))

    def _will_answer(self, who: str) -> bool:
        # The dice fall for sleepers as well, so that putting someone to sleep changes nobody else's answers.
        return self._random.random() < self._answers and who not in self._asleep

    def _follow(self, found: re.Match[str] | None) -> None:
        if found is None:
            return
        link = found.group(0)
        wanted = self._random.random() < self._needs_help

        async def answer() -> None:
            if self._session is None:
                self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10))
            async with self._session.get(link) as page:  # as a person would: look, then press the button
                await page.read()
            async with self._session.post(link, data={"answer": "help" if wanted else "safe"}) as page:
                await page.read()

        self._later(answer, wanted)

    def _later(self, answer: Callable[[], Awaitable[None]], wanted: bool) -> None:
        wait = self._random.uniform(*self._wait_s)

        async def run() -> None:
            await asyncio.sleep(wait)
            async with self._gate:
                try:
                    await answer()
                except (aiohttp.ClientError, OSError):
                    return  # the page is not there: this person gives up
            if wanted:
                self.help += 1
            else:
                self.safe += 1

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def settled(self) -> None:
        """Returns once everybody who was going to answer has."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def stop(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

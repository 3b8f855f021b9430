"""Calls through the provider: what each answer and ending means, what is said, and that nothing breaks out of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import web
from conftest import ACCOUNT, TOKEN, VoiceRig, deliveries, rendered, until
from defusedxml.ElementTree import fromstring
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from domain.content import Area, ContactCard, Content, Target, Text
from domain.errors import InvalidInput
from domain.outcomes import Outcome, Reason
from domain.rulepacks import Level
from domain.shards import Circle, Purpose
from domain.warnings import Status, WarningState
from infra.config import Settings, SmsConfig, VoiceConfig, voice_account
from infra.sandbox.behaviour import Behaviour, Kind
from infra.sandbox.voice import Callee, SandboxVoice
from notifiers import spoken, twiml
from notifiers.channel import Result
from notifiers.render import render
from notifiers.sms import verify_signature
from notifiers.voice import ENDINGS, REFUSALS, SIP, VoiceNotifier, VoiceSettings, call_to_row

NOW = datetime(2026, 7, 1, 8, 0, tzinfo=UTC)
TEXTS = tuple(
    Text(language=tag, headline=f"headline-{tag}", instruction=f"instruction-{tag}")
    for tag in ("zh-CN", "en", "es", "it", "fr")
)


def warning(texts: tuple[Text, ...] = TEXTS, *, drill: bool = False) -> WarningState:
    return WarningState(
        warning_id="w1",
        status=Status.RELEASED,
        authors=("a",),
        content=Content(
            event="flood",
            level=Level.RED,
            texts=texts,
            area=Area(description="Prato"),
            target=Target(nodes=("top",)),
            contact=ContactCard(hotline="12308", mission="+39 055", police="112", valid_from=NOW),
            effective_at=NOW,
            expires_at=NOW + timedelta(hours=6),
            drill=drill,
        ),
    )


def said(language: str, purpose: Purpose = Purpose.NOTICE, circle: Circle = Circle.PEOPLE, **more: bool) -> str:
    made = render(warning(**more), purpose=purpose, circle=circle, language=language, now=NOW)
    assert made.voice_language == spoken.words(language).tag
    return made.voice


@pytest.mark.parametrize("language", ["zh", "en", "es", "it", "fr"])
def test_a_call_says_who_calls_what_is_the_matter_and_what_the_keys_are_for(language: str) -> None:
    words = spoken.words(language)
    notice = said(language)
    tag = "zh-CN" if language == "zh" else language
    order = [words.caller, f"headline-{tag}", f"instruction-{tag}", words.ask_people, "1 2 3 0 8"]
    places = [notice.index(part) for part in order]
    assert places == sorted(places)
    assert words.ask_staff in said(language, circle=Circle.STAFF)
    assert words.unclear in said(language, Purpose.ASK)
    assert words.silent in said(language, Purpose.ESCALATION)
    assert words.drill not in notice
    assert words.drill in said(language, drill=True)
    cancelled = said(language, Purpose.CANCEL)
    assert words.cancelled in cancelled
    assert words.ask_people not in cancelled
    assert f"instruction-{tag}" not in cancelled
    everything = (getattr(words, name) for name in words.__struct_fields__)
    assert all(everything)


def test_no_two_languages_share_a_word() -> None:
    for name in spoken.Spoken.__struct_fields__:
        assert len({getattr(words, name) for words in spoken.SPOKEN.values()}) == len(spoken.SPOKEN), name


def test_a_call_is_in_the_language_of_its_text_throughout() -> None:
    only_chinese = warning(TEXTS[:1])
    made = render(only_chinese, purpose=Purpose.NOTICE, circle=Circle.PEOPLE, language="it", now=NOW)
    assert made.voice_language == "zh-CN"
    assert spoken.words("zh").ask_people in made.voice
    assert "Prema" not in made.voice


def test_a_long_warning_is_cut_and_the_keys_are_still_named() -> None:
    text = Text(language="zh", headline="洪" * 1_000, instruction="水" * 5_000)
    made = render(warning((text,)), purpose=Purpose.NOTICE, circle=Circle.PEOPLE, language="zh", now=NOW)
    assert len(made.voice) < spoken.LONGEST + 200
    assert "…" in made.voice
    assert "请按2" in made.voice


UNSEEN = "\x00\x07\x1b\ud800\ufffe\u202e洪水"
NASTY = '</Say><Hangup/>&amp;<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]>"\''


@given(st.text(max_size=200) | st.just(NASTY) | st.just(UNSEEN))
def test_whatever_is_said_stays_inside_what_is_said(text: str) -> None:
    asked = fromstring(twiml.question(text, "zh-CN", "https://x.example/key?asked=1&b=2"), forbid_dtd=True)
    (gather,) = list(asked)
    (say,) = list(gather)
    assert (gather.tag, gather.get("numDigits"), gather.get("actionOnEmptyResult")) == ("Gather", "1", "true")
    assert gather.get("action") == "https://x.example/key?asked=1&b=2"
    assert (say.tag, say.get("language"), say.get("loop"), len(say)) == ("Say", "zh-CN", "2", 0)
    stated = fromstring(twiml.statement(text, "zh-CN"), forbid_dtd=True)
    assert [part.tag for part in stated] == ["Say", "Hangup"]
    if text == NASTY:
        assert say.text == NASTY
    if text == UNSEEN:
        assert say.text is not None
        assert say.text.split() == ["洪水"]


@pytest.mark.parametrize(
    ("params", "row"),
    [
        ({"CallStatus": "completed"}, (Outcome.DELIVERED, Reason.NONE)),
        ({"CallStatus": "completed", "AnsweredBy": "human"}, (Outcome.DELIVERED, Reason.NONE)),
        ({"CallStatus": "completed", "AnsweredBy": "unknown"}, (Outcome.DELIVERED, Reason.NONE)),
        ({"CallStatus": "completed", "AnsweredBy": "machine_end_beep"}, (Outcome.REFUSED, Reason.MACHINE)),
        ({"CallStatus": "completed", "AnsweredBy": "fax"}, (Outcome.REFUSED, Reason.MACHINE)),
        *[({"CallStatus": status}, (Outcome.REFUSED, reason)) for status, reason in ENDINGS.items()],
        *[
            ({"CallStatus": "failed", "SipResponseCode": str(c)}, (Outcome.REFUSED, reason))
            for c, reason in SIP.items()
        ],
        ({"CallStatus": "failed", "SipResponseCode": "²"}, (Outcome.REFUSED, Reason.UNDELIVERED)),
        ({"CallStatus": "failed", "SipResponseCode": "9" * 5_000}, (Outcome.REFUSED, Reason.UNDELIVERED)),
        ({"CallStatus": "busy", "SipResponseCode": "404"}, (Outcome.REFUSED, Reason.BUSY)),
        ({"CallStatus": "queued"}, None),
        ({"CallStatus": "ringing"}, None),
        ({"CallStatus": "in-progress"}, None),
        ({"CallStatus": "something new"}, None),
        ({}, None),
    ],
)
def test_what_the_end_of_a_call_says(params: dict[str, str], row: tuple[Outcome, Reason] | None) -> None:
    assert call_to_row({"CallSid": "CA1", **params}) == ((*row, "CA1") if row else None)


async def answer(voice: VoiceRig, code: int) -> Result:
    somebody = voice.someone()
    voice.behave(somebody, Behaviour(Kind.REFUSE, code=code))
    notifier = voice.notifier()
    (result,) = await notifier.send(rendered(), deliveries([somebody]))
    await notifier.close()
    return result


@pytest.mark.parametrize(("code", "meaning"), REFUSALS.items())
async def test_every_listed_error_code(voice: VoiceRig, code: int, meaning: tuple[Outcome, Reason]) -> None:
    result = await answer(voice, code)
    assert (result.outcome, result.reason) == meaning


async def test_an_error_code_that_nobody_has_seen_is_a_refusal(voice: VoiceRig) -> None:
    assert (await answer(voice, 29999)).outcome is Outcome.REFUSED


async def test_a_wrong_token_is_our_fault_and_not_the_recipients(voice: VoiceRig) -> None:
    notifier = VoiceNotifier(voice.settings(auth_token="wrong"))
    (result,) = await notifier.send(rendered(), deliveries([voice.someone()], callback="https://x.example/c"))
    await notifier.close()
    assert (result.outcome, result.reason) == (Outcome.DEFERRED, Reason.CREDENTIALS)


@pytest.mark.parametrize("missing", [{"voice": ""}, {"voice": " \n"}, {"callback": ""}])
async def test_nobody_is_called_to_be_told_nothing(voice: VoiceRig, missing: dict[str, str]) -> None:
    notifier = VoiceNotifier(voice.settings())
    callback = missing.pop("callback", "https://x.example/c")
    (result,) = await notifier.send(rendered(**missing), deliveries([voice.someone()], callback=callback))
    await notifier.close()
    assert (result.outcome, result.reason, voice.taken()) == (Outcome.REFUSED, Reason.CONTENT_REFUSED, 0)


def test_settings_show_no_secret() -> None:
    settings = VoiceSettings(account_sid=ACCOUNT, auth_token=TOKEN, caller="+15005550007")
    assert TOKEN not in repr(settings) + str(settings)
    assert ACCOUNT not in repr(settings)


async def test_the_sandbox_calls_back_signed_hears_and_presses() -> None:
    """The fake that other tests stand on: every request of it bears a signature that we accept."""
    seen: list[tuple[str, dict[str, str]]] = []

    async def take(request: web.Request) -> web.Response:
        params = {name: str(value) for name, value in (await request.post()).items()}
        assert verify_signature(TOKEN, str(request.url), params, request.headers["X-Twilio-Signature"])
        seen.append((request.path, params))
        question = twiml.question("1 or 2?", "en-GB", f"http://{request.host}/c/key?asked=1")
        return web.Response(text=question if request.path == "/c" else twiml.statement("thanks", "en-GB"))

    app = web.Application()
    app.router.add_post("/{rest:.*}", take)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    ours = f"http://127.0.0.1:{runner.addresses[0][1]}/c"
    sandbox = SandboxVoice(ACCOUNT, TOKEN)
    await sandbox.start()
    sandbox.callee("+8613900000001", Callee(keys=("2",)))
    settings = VoiceSettings(account_sid=ACCOUNT, auth_token=TOKEN, caller=sandbox.number, base_url=sandbox.url)
    notifier = VoiceNotifier(settings)
    (result,) = await notifier.send(rendered(), deliveries(["+8613900000001"], callback=ours))
    await until(lambda: sandbox.at_rest and len(seen) == 3)
    await notifier.close()
    await sandbox.stop()
    await runner.cleanup()
    (call,) = sandbox.calls
    assert (call.heard, call.pressed, call.status) == (["1 or 2?", "thanks"], ["2"], "completed")
    assert [path for path, _ in seen] == ["/c", "/c/key", "/c/status"]
    assert {params["CallSid"] for _, params in seen} == {result.provider_ref}


def test_calls_are_made_with_the_account_of_the_text_messages_unless_another_is_named() -> None:
    sms = SmsConfig(account_sid="AC1", auth_token=SecretStr("t1"), sender="+1")
    own = VoiceConfig(caller="+2", account_sid="AC2", auth_token=SecretStr("t2"))
    assert voice_account(Settings(sms=sms, voice=VoiceConfig(caller="+2"))) == ("AC1", "t1")
    assert voice_account(Settings(sms=sms, voice=own)) == ("AC2", "t2")
    assert voice_account(Settings(sms=sms)) is None
    with pytest.raises(InvalidInput) as refused:
        voice_account(Settings(voice=VoiceConfig(caller="+2")))
    assert refused.value.code == "config.voice"

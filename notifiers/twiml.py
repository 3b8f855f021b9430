"""What a call says and asks, as TwiML: the provider fetches it from us while the call goes on."""

from __future__ import annotations

import re

from twilio.twiml.voice_response import VoiceResponse

KEY_WAIT_S = 8  # from the last word to giving up on a key
VOICE = "alice"  # speaks all the languages that we have words in
_UNSPEAKABLE = re.compile(
    "[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]|[\u200e\u200f\u202a-\u202e\u2066-\u2069]"
)
"""What XML 1.0 cannot carry, and marks of direction, which nobody can say."""


def question(said: str, language: str, action: str, *, times: int = 2) -> str:
    """Says it `times` times and waits for one key, which is posted to `action`; so is the lack of one."""
    response = VoiceResponse()  # type: ignore[no-untyped-call]
    gather = response.gather(  # type: ignore[no-untyped-call]
        input="dtmf", num_digits=1, action=action, method="POST", timeout=KEY_WAIT_S, action_on_empty_result=True
    )
    gather.say(_sayable(said), voice=VOICE, language=language, loop=times)
    return str(response)


def statement(said: str, language: str, *, times: int = 1) -> str:
    """Says it and hangs up."""
    response = VoiceResponse()  # type: ignore[no-untyped-call]
    response.say(_sayable(said), voice=VOICE, language=language, loop=times)  # type: ignore[no-untyped-call]
    response.hangup()  # type: ignore[no-untyped-call]
    return str(response)


def _sayable(text: str) -> str:
    return _UNSPEAKABLE.sub(" ", text)

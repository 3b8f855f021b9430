"""What somebody meant by what they typed: safe, need help, or not clear.

Two mistakes are not alike. To take a cry for help for anything else may cost a life, so a word for help wins over all
others wherever it stands. To take somebody for safe who is not may cost one too, so "safe" is only what consists of
words for it and of nothing else: whatever negates, asks or adds is not among them, and the answer is not clear.
"""

from __future__ import annotations

import re
import unicodedata
from enum import StrEnum


class Answer(StrEnum):
    SAFE = "safe"
    HELP = "help"
    UNCLEAR = "unclear"


def _words(*lists: str) -> frozenset[str]:
    return frozenset(word for one in lists for word in one.split())


_SAFE_LATIN = _words(
    "1 ok oks okay okey okk k yes yep yeah y safe fine received recieved ack acknowledged roger copy good well alright",
    "seguro segura seguros salvo bien recibido vale si sí",
    "sicuro sicura sicuri bene ricevuto sì",
    "oui reçu recu sécurité securite sauf",
    "👍 👌 ✅ ✔ 🆗",
)
_BESIDE_LATIN = _words(
    "i am i'm im we are we're and all everyone everything is now here at home still very thanks thx both my family the",
    "estoy estamos todo todos a gracias en casa y",
    "sto stiamo siamo tutto tutti al grazie e sono",
    "je suis nous sommes tout tous va merci et maison",
    "🙏 🙂 😊 😀 ❤ 💪",
)
_SAFE_CHINESE = _words(
    "一 收到 已收到 已收 安全 平安 无恙 無恙 无事 無事 没事 沒事 没问题 沒問題 已读 已讀 知道了 知道 明白 了解 好 好的",
    "嗯 行 可以 确认 確認",
)
_BESIDE_CHINESE = _words(
    "我 我们 我們 本人 全家 家人 一家 大家 全部 所有人 都 全 很 非常 一切 已 已经 已經 目前 现在 現在 暂时 暫時 在家",
    "也 是 的 了 啦 啊 呀 哦 谢谢 謝謝 多谢 多謝 感谢 感謝 您 辛苦 辛苦了",
)
_ASKS = _words("are is am est es")
"""What begins a question: "are we safe"."""

_HELP_LATIN = re.compile(
    r"(?<!\S)(?:h+e+l+p+|hlep|halp|helpme|(?:s ?o ?s ?)+|emergency|trapped|injured|bleeding|drowning"
    r"|ayuda|ayudame|ayúdame|ayúdenme|socorro|auxilio|aiuto|aiutatemi|aiutami|soccorso"
    r"|secours|aidez|aidez moi|(?:[dl]')?aide|🆘)(?!\S)"
)
_HELP_CHINESE = re.compile(
    "救命|求助|求救|救我|救救|救援|救助|救护|救護|帮助|幫助|帮我|幫我|帮帮|幫幫|帮忙|幫忙|有危险|有危險|被困|受困|受伤|受傷|危急"
)
_NO_HELP = re.compile(
    r"不需要(?:任何)?(?:帮助|幫助|救助|救援|帮忙|幫忙)|不用(?:帮助|幫助|帮忙|幫忙|救援)|[无無]需(?:帮助|幫助|救助|救援|帮忙|幫忙)"
    r"|[没沒](?:有?(?:受伤|受傷|被困|受困)|有危险|有危險)|未(?:受伤|受傷|被困)|(?:谢谢|謝謝|感谢|感謝)[您你]?[们們]?的?(?:帮助|幫助|帮忙|幫忙)"
    r"|(?<!\S)(?:no (?:need (?:for|of) )?help(?: (?:is )?(?:needed|required|necessary))?"
    r"|(?:do not|don't|dont|doesn't) (?:need|want|require) (?:any |your )?help|can (?:i|we) help"
    r"|(?:thanks|thank you) for (?:the|your|all the) help|not (?:injured|trapped|bleeding)"
    r"|no (?:necesito|necesitamos) ayuda|non (?:ho|abbiamo) bisogno di aiuto|non serve aiuto|pas besoin d'aide)(?!\S)"
)
"""Taken out rather than believed: "no help came, sos" is a cry for help."""

_CLAUSES = re.compile(r"[.,;:!?…。，、；：！？\n\r—–]+|\s-+\s")
_QUESTION = re.compile("[?？¿吗嗎么麼呢]")
_HAN = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+")
_KNOWN = re.compile("|".join(sorted({*_SAFE_CHINESE, *_BESIDE_CHINESE}, key=len, reverse=True)))
_FEW = 3  # words that may follow a 2


def interpret(text: str) -> Answer:
    """What somebody meant. Never raises; what is not clear is never taken for safe."""
    # What negates does so within a clause: "no help" is not "no, help".
    rest = " ".join(_NO_HELP.sub(" ", _spaced(clause)) for clause in _CLAUSES.split(text))
    if _HELP_CHINESE.search(rest) or _HELP_LATIN.search(rest):
        return Answer.HELP
    written = ["2" if word == "二" else word for word in rest.split()]
    others = [word for word in written if word != "2"]
    if len(others) < len(written) and ((written[0] == "2" and len(others) <= _FEW) or all(map(_known, others))):
        return Answer.HELP
    if _QUESTION.search(text) or not written or written[0] in _ASKS:
        return Answer.UNCLEAR
    return Answer.SAFE if all(map(_known, written)) and any(map(_says_safe, written)) else Answer.UNCLEAR


def _known(word: str) -> bool:
    """Whether a word is one for "safe", or one that changes nothing beside it."""
    if _HAN.fullmatch(word):
        return not _KNOWN.sub("", word)
    return word in _SAFE_LATIN or word in _BESIDE_LATIN


def _says_safe(word: str) -> bool:
    return word in _SAFE_LATIN or any(part in _SAFE_CHINESE for part in _KNOWN.findall(word))


def _spaced(text: str) -> str:
    """The text folded to one form, as words with a space between: runs of Chinese, words of letters and digits, and
    each other sign by itself. Punctuation separates."""
    plain = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    made: list[str] = []
    for n, char in enumerate(plain):
        kind = unicodedata.category(char)
        if char in "'’‘" and 0 < n < len(plain) - 1 and plain[n - 1].isalpha() and plain[n + 1].isalpha():
            made.append("'")
        elif kind in ("Cf", "Me", "Sk") or 0xFE00 <= ord(char) <= 0xFE0F:
            continue  # what only changes how the sign before it looks: a keycap, a skin colour, a joiner
        elif kind == "Nd":
            made.append(str(unicodedata.decimal(char)))
        elif kind[0] in "LNM":
            made.append(char)
        elif kind[0] == "S":
            made.append(f" {char} ")
        else:
            made.append(" ")
    return " ".join(_HAN.sub(r" \g<0> ", "".join(made)).split())

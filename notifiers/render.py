"""A warning's words for one language: mail, page text and text message, with the contact card on each.

Rendered once per (warning, purpose, circle, language); only the link differs between recipients.
"""

from __future__ import annotations

import html
import zlib
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import msgspec
from babel.dates import format_datetime

from domain.content import Text
from domain.rulepacks import Lane, Level
from domain.shards import Circle, Purpose
from domain.warnings import Status, WarningState
from notifiers import spoken
from notifiers.channel import LINK, Rendered
from notifiers.lasting import ttl_s

HOME_ZONE = ZoneInfo("Asia/Shanghai")  # a batch is rendered once, so times are the duty office's, with the zone said
SHORT = 300  # characters of a text message before its link: five UCS-2 segments


class _Words(msgspec.Struct, frozen=True):
    levels: tuple[str, str, str, str]
    cancelled: str
    silent: str
    unclear: str
    valid: str
    answer_people: str
    answer_staff: str
    hotline: str
    mission: str
    police: str
    reason: str
    corrected: str
    over: str
    drill: str


WORDS: dict[str, _Words] = {
    "zh": _Words(
        ("蓝色预警", "黄色预警", "橙色预警", "红色预警"),
        "【解除】",
        "【催办：尚无足够回应】",
        "【没有看懂您的回复，请再回复一次】",
        "有效期至",
        "平安请回复1，需要帮助请回复2，或打开",
        "收到并转发请回复1，需要帮助请回复2，或打开",
        "热线",
        "使领馆",
        "当地警察",
        "解除原因",
        "【更正】",
        "此预警已由新的预警代替，新预警不再涉及您。",
        "演习",
    ),
    "en": _Words(
        ("Blue warning", "Yellow warning", "Orange warning", "Red warning"),
        "[CANCELLED] ",
        "[Not enough answers yet] ",
        "[We did not understand your reply, please answer again] ",
        "Valid until",
        "Reply 1 if you are safe, 2 if you need help, or open",
        "Reply 1 to acknowledge and relay, 2 if you need help, or open",
        "Hotline",
        "Mission",
        "Local police",
        "Reason",
        "[CORRECTION] ",
        "A new warning took its place; it no longer concerns you.",
        "DRILL",
    ),
    "es": _Words(
        ("Aviso azul", "Aviso amarillo", "Aviso naranja", "Aviso rojo"),
        "[ANULADO] ",
        "[Respuestas insuficientes] ",
        "[No hemos entendido su respuesta, responda otra vez] ",
        "Válido hasta",
        "Responda 1 si está a salvo, 2 si necesita ayuda, o abra",
        "Responda 1 para confirmar y transmitir, 2 si necesita ayuda, o abra",
        "Línea de ayuda",
        "Misión",
        "Policía local",
        "Motivo",
        "[CORRECCIÓN] ",
        "Un nuevo aviso lo sustituye; ya no le afecta.",
        "SIMULACRO",
    ),
    "it": _Words(
        ("Allerta blu", "Allerta gialla", "Allerta arancione", "Allerta rossa"),
        "[ANNULLATO] ",
        "[Risposte insufficienti] ",
        "[Non abbiamo capito la risposta, risponda di nuovo] ",
        "Valido fino al",
        "Rispondi 1 se sei al sicuro, 2 se hai bisogno di aiuto, o apri",
        "Rispondi 1 per confermare e inoltrare, 2 se hai bisogno di aiuto, o apri",
        "Linea diretta",
        "Missione",
        "Polizia locale",
        "Motivo",
        "[RETTIFICA] ",
        "Una nuova allerta l'ha sostituita; non la riguarda più.",
        "ESERCITAZIONE",
    ),
    "fr": _Words(
        ("Alerte bleue", "Alerte jaune", "Alerte orange", "Alerte rouge"),
        "[ANNULÉ] ",
        "[Réponses insuffisantes] ",
        "[Nous n'avons pas compris, merci de répondre à nouveau] ",
        "Valable jusqu'au",
        "Répondez 1 si vous êtes en sécurité, 2 si vous avez besoin d'aide, ou ouvrez",
        "Répondez 1 pour confirmer et relayer, 2 si vous avez besoin d'aide, ou ouvrez",
        "Assistance",
        "Mission",
        "Police locale",
        "Motif",
        "[RECTIFICATIF] ",
        "Une nouvelle alerte la remplace ; elle ne vous concerne plus.",
        "EXERCICE",
    ),
}


def text_for(texts: tuple[Text, ...], language: str) -> Text:
    """The text in a person's language: same tag, same primary tag, else Chinese, else English, else the first."""
    for wanted in (language.lower(), language.partition("-")[0].lower(), "zh", "en"):
        for text in texts:
            tag = text.language.lower()
            if wanted in (tag, tag.partition("-")[0]):
                return text
    return texts[0]


def render(
    warning: WarningState,
    *,
    purpose: Purpose,
    circle: Circle,
    language: str,
    now: datetime,
    lane: Lane = Lane.NORMAL,
    cancel_texts: tuple[Text, ...] = (),
    cancel_reason: str = "",
) -> Rendered:
    """The messages of one batch. Raises nothing: a language without words of ours gets the words of the text's own."""
    content = warning.content
    text = text_for(content.texts, language)
    words = _words(language, text)
    voice = spoken.words(text.language)
    level = words.levels[list(Level).index(content.level)]
    prefix = {
        Purpose.NOTICE: words.corrected if warning.correction else "",
        Purpose.CANCEL: words.cancelled,
        Purpose.ESCALATION: words.silent,
        Purpose.ASK: words.unclear,
    }.get(purpose, "")
    subject = f"{prefix}{level}: {text.headline}"
    until = format_datetime(content.expires_at, "yyyy-MM-dd HH:mm zzz", tzinfo=HOME_ZONE, locale="en")
    card = (
        f"{words.hotline}: {content.contact.hotline}\n"
        f"{words.mission}: {content.contact.mission}\n"
        f"{words.police}: {content.contact.police}"
    )
    if purpose is Purpose.CANCEL:
        said = text_for(cancel_texts, language).headline if cancel_texts else cancel_reason
        if warning.status is Status.UPDATED:
            said = words.over
        parts = [subject, f"{words.reason}: {said}", card]
        push = f"{words.reason}: {said}"
        short = f"{words.cancelled}{level}: {text.headline}"[:SHORT] + f" {words.hotline} {content.contact.hotline}"
    else:
        ask = words.answer_staff if circle is Circle.STAFF else words.answer_people
        parts = [subject, text.description, text.instruction, f"{words.valid} {until}", f"{ask} {LINK}", card]
        push = text.instruction or text.description or f"{words.valid} {until}"
        first = f"{prefix}{level}: {text.headline}"
        if len(first) < SHORT and text.instruction and purpose is not Purpose.ASK:  # they have it, and were asked
            first = f"{first} {text.instruction}"
        short = f"{_cut(first)} {ask} {LINK} {words.hotline} {content.contact.hotline}"
    body = "\n\n".join(part for part in parts if part)
    said_so = Rendered(
        language=language,
        subject=_one_line(subject)[:200],
        text=body,
        html=_html(parts, language),
        short=_one_line(short),
        push=_cut(push),
        voice=spoken.speech(
            voice,
            purpose=purpose,
            circle=circle,
            drill=content.drill,
            level=_words(text.language, text).levels[list(Level).index(content.level)],
            headline=text.headline,
            instruction="" if purpose in (Purpose.CANCEL, Purpose.ASK) else text.instruction,
            hotline=content.contact.hotline,
        ),
        voice_language=voice.tag,
        number=number_of(warning.warning_id),
        level=content.level,
        lane=lane,
        drill=content.drill,
        sandboxed=warning.sandboxed,
        urgency="normal" if content.level is Level.BLUE else "high",
        ttl_s=ttl_s(purpose, content.expires_at, now),
        warning_id=warning.warning_id,
        purpose=purpose,
        rendered_at=now,
        expires_at=content.expires_at.astimezone(UTC),
    )
    return _marked(said_so, words.drill, parts) if content.drill else said_so


def drill_mark(language: str) -> str:
    """The mark of a drill in a language, English where there is none: `【演习】`, `[DRILL]`."""
    known = WORDS.get(language.partition("-")[0].lower(), WORDS["en"])
    return _mark(known.drill)


def _mark(word: str) -> str:
    return f"[{word}]" if word.isascii() else f"【{word}】"


def _marked(said: Rendered, word: str, parts: list[str]) -> Rendered:
    """A drill says so first and last in whatever is read or heard of it; after all cutting, so that nothing cuts it."""
    mark = _mark(word)

    def around(text: str, between: str = " ") -> str:
        return f"{mark}{between}{text}{between}{mark}" if text else ""

    return msgspec.structs.replace(
        said,
        subject=around(said.subject),
        text=around(said.text, "\n\n"),
        html=_html([mark, *parts, mark], said.language),
        short=around(said.short),
        push=around(said.push),
        voice=f"{said.voice} {spoken.words(said.voice_language).drill}" if said.voice else "",  # as it began
    )


def number_of(warning_id: str) -> str:
    """Six digits by which people name a warning on the phone; for finding it again, not for telling all apart."""
    return f"{zlib.crc32(warning_id.encode()) % 1_000_000:06d}"


def _words(language: str, text: Text) -> _Words:
    for tag in (language, text.language):
        words = WORDS.get(tag.partition("-")[0].lower())
        if words is not None:
            return words
    return WORDS["en"]


def _cut(text: str) -> str:
    return text if len(text) <= SHORT else text[: SHORT - 1] + "…"


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _html(parts: list[str], language: str) -> str:
    anchor = f'<a href="{LINK}">{LINK}</a>'
    # Each on a line of its own: a body with a line of over 998 octets has to be encoded, which makes it a third larger.
    paragraphs = "\n".join(
        f"<p>{html.escape(part).replace(chr(10), '<br>').replace(LINK, anchor)}</p>" for part in parts if part
    )
    return f'<!doctype html><html lang="{html.escape(language)}"><meta charset="utf-8"><body>{paragraphs}</body></html>'

"""A warning's words for one language: mail, page text and text message, with the contact card on each.

Rendered once per (warning, purpose, circle, language); only the link differs between recipients.
"""

from __future__ import annotations

import html
import zlib
from datetime import datetime
from zoneinfo import ZoneInfo

import msgspec
from babel.dates import format_datetime

from domain.rulepacks import Lane, Level
from domain.shards import Circle, Purpose
from domain.warnings import Text, WarningState
from notifiers.channel import LINK, Rendered

HOME_ZONE = ZoneInfo("Asia/Shanghai")  # a batch is rendered once, so times are the duty office's, with the zone said
SHORT = 300  # characters of a text message before its link: five UCS-2 segments


class _Words(msgspec.Struct, frozen=True):
    levels: tuple[str, str, str, str]
    cancelled: str
    silent: str
    valid: str
    answer_people: str
    answer_staff: str
    hotline: str
    mission: str
    police: str
    reason: str


WORDS: dict[str, _Words] = {
    "zh": _Words(
        ("蓝色预警", "黄色预警", "橙色预警", "红色预警"),
        "【解除】",
        "【催办：下级站点未回应】",
        "有效期至",
        "平安请回复1，需要帮助请回复2，或打开",
        "收到并转发请回复1，需要帮助请回复2，或打开",
        "热线",
        "使领馆",
        "当地警察",
        "解除原因",
    ),
    "en": _Words(
        ("Blue warning", "Yellow warning", "Orange warning", "Red warning"),
        "[CANCELLED] ",
        "[No answer from a node below] ",
        "Valid until",
        "Reply 1 if you are safe, 2 if you need help, or open",
        "Reply 1 to acknowledge and relay, 2 if you need help, or open",
        "Hotline",
        "Mission",
        "Local police",
        "Reason",
    ),
    "es": _Words(
        ("Aviso azul", "Aviso amarillo", "Aviso naranja", "Aviso rojo"),
        "[ANULADO] ",
        "[Sin respuesta de un punto inferior] ",
        "Válido hasta",
        "Responda 1 si está a salvo, 2 si necesita ayuda, o abra",
        "Responda 1 para confirmar y transmitir, 2 si necesita ayuda, o abra",
        "Línea de ayuda",
        "Misión",
        "Policía local",
        "Motivo",
    ),
    "it": _Words(
        ("Allerta blu", "Allerta gialla", "Allerta arancione", "Allerta rossa"),
        "[ANNULLATO] ",
        "[Nessuna risposta da un punto inferiore] ",
        "Valido fino al",
        "Rispondi 1 se sei al sicuro, 2 se hai bisogno di aiuto, o apri",
        "Rispondi 1 per confermare e inoltrare, 2 se hai bisogno di aiuto, o apri",
        "Linea diretta",
        "Missione",
        "Polizia locale",
        "Motivo",
    ),
    "fr": _Words(
        ("Alerte bleue", "Alerte jaune", "Alerte orange", "Alerte rouge"),
        "[ANNULÉ] ",
        "[Pas de réponse d'un point inférieur] ",
        "Valable jusqu'au",
        "Répondez 1 si vous êtes en sécurité, 2 si vous avez besoin d'aide, ou ouvrez",
        "Répondez 1 pour confirmer et relayer, 2 si vous avez besoin d'aide, ou ouvrez",
        "Assistance",
        "Mission",
        "Police locale",
        "Motif",
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
    level = words.levels[list(Level).index(content.level)]
    prefix = {Purpose.CANCEL: words.cancelled, Purpose.ESCALATION: words.silent, Purpose.NOTICE: ""}[purpose]
    subject = f"{prefix}{level}: {text.headline}"
    until = format_datetime(content.expires_at, "yyyy-MM-dd HH:mm zzz", tzinfo=HOME_ZONE, locale="en")
    card = (
        f"{words.hotline}: {content.contact.hotline}\n"
        f"{words.mission}: {content.contact.mission}\n"
        f"{words.police}: {content.contact.police}"
    )
    if purpose is Purpose.CANCEL:
        said = text_for(cancel_texts, language).headline if cancel_texts else cancel_reason
        parts = [subject, f"{words.reason}: {said}", card]
        push = f"{words.reason}: {said}"
        short = f"{words.cancelled}{level}: {text.headline}"[:SHORT] + f" {words.hotline} {content.contact.hotline}"
    else:
        ask = words.answer_staff if circle is Circle.STAFF else words.answer_people
        parts = [subject, text.description, text.instruction, f"{words.valid} {until}", f"{ask} {LINK}", card]
        push = text.instruction or text.description or f"{words.valid} {until}"
        first = f"{prefix}{level}: {text.headline}"
        if len(first) < SHORT and text.instruction:
            first = f"{first} {text.instruction}"
        short = f"{_cut(first)} {ask} {LINK} {words.hotline} {content.contact.hotline}"
    body = "\n\n".join(part for part in parts if part)
    return Rendered(
        language=language,
        subject=_one_line(subject)[:200],
        text=body,
        html=_html(parts, language),
        short=_one_line(short),
        push=_cut(push),
        number=number_of(warning.warning_id),
        level=content.level,
        lane=lane,
        drill=content.drill,
        urgency="normal" if content.level is Level.BLUE else "high",
        ttl_s=max(60, int((content.expires_at - now).total_seconds())),
        warning_id=warning.warning_id,
        purpose=purpose,
        rendered_at=now,
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

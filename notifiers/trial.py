"""The words of a test message: short, marked as a test in the reader's language, in Chinese and in English."""

from __future__ import annotations

import html
from datetime import datetime

from domain.rulepacks import Level
from domain.shards import ShardPlanned
from notifiers import spoken
from notifiers.channel import Rendered
from notifiers.lasting import ttl_s

WORDS: dict[str, tuple[str, str]] = {  # the mark that is the subject too, what it is for
    "zh": ("测试消息，无需回复", "领事保护预警系统正在检查能否联系到您。现在没有任何险情。"),
    "en": ("Test message, no reply needed", "The consular warning system checks that it can reach you. No danger."),
    "es": (
        "Mensaje de prueba, no hace falta responder",
        "El sistema de avisos consulares comprueba que puede localizarle. No hay peligro.",
    ),
    "it": (
        "Messaggio di prova, non serve rispondere",
        "Il sistema di allerta consolare verifica di poterla raggiungere. Nessun pericolo.",
    ),
    "fr": (
        "Message de test, aucune réponse attendue",
        "Le système d'alerte consulaire vérifie qu'il peut vous joindre. Aucun danger.",
    ),
}


def render_trial(plan: ShardPlanned, now: datetime) -> Rendered:
    """The message of a test's batch. It has no link: there is nothing to answer."""
    primary = plan.language.partition("-")[0].lower()
    own = primary if primary in WORDS else "en"
    tags = list(dict.fromkeys((own, "zh", "en")))
    marks = " / ".join(WORDS[tag][0] for tag in tags)
    parts = [marks, *(WORDS[tag][1] for tag in tags)]
    head = f'<!doctype html><html lang="{html.escape(plan.language)}"><meta charset="utf-8">'
    paragraphs = "\n".join(f"<p>{html.escape(part)}</p>" for part in parts)
    return Rendered(
        language=plan.language,
        subject=marks,
        text="\n\n".join(parts),
        html=f"{head}<body>{paragraphs}</body></html>",
        short=marks,
        push=WORDS[own][1],
        voice="。".join(WORDS[own]) if own == "zh" else ". ".join(WORDS[own]),
        voice_language=spoken.words(own).tag,
        level=Level.BLUE,
        lane=plan.lane,
        urgency="low",
        ttl_s=ttl_s(plan.purpose, plan.valid_until, now),
    )

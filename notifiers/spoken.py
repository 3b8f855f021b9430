"""The words of a call, in the languages that we have words in: what is asked, what each key is answered with.

All of a call is in one language, that of the warning's text: no voice reads two well.
"""

from __future__ import annotations

import msgspec

from domain.shards import Circle, Purpose

LONGEST = 400  # characters of headline and instruction together: about a minute and a half in Chinese, said once


class Spoken(msgspec.Struct, frozen=True, kw_only=True):
    """`tag` is the language as the provider's voices know it (BCP 47)."""

    tag: str
    caller: str
    drill: str
    cancelled: str
    silent: str
    unclear: str
    ask_people: str
    ask_staff: str
    again: str
    safe: str
    relayed: str
    help: str
    bye: str
    hotline: str


SPOKEN: dict[str, Spoken] = {
    "zh": Spoken(
        tag="zh-CN",
        caller="您好，这里是外事办领事保护值班室。",
        drill="这是演练，不是真实预警。",
        cancelled="预警已解除。",
        silent="目前收到的回应还不够。",
        unclear="我们没有看懂您的回复。",
        ask_people="平安请按1，需要帮助请按2。",
        ask_staff="收到并转发请按1，需要帮助请按2。",
        again="没有收到有效的按键。",
        safe="您按了1：您平安。谢谢，我们已记录。",
        relayed="您按了1：您已收到并转发。谢谢，我们已记录。",
        help="您按了2：您需要帮助。我们已通知值班人员。如有生命危险，请立即拨打当地报警电话。",
        bye="没有收到您的按键。请用短信或短信中的链接回复。再见。",
        hotline="求助热线",
    ),
    "en": Spoken(
        tag="en-GB",
        caller="Hello. This is the consular protection duty office.",
        drill="This is an exercise, not a real warning.",
        cancelled="The warning is cancelled.",
        silent="Not enough answers have come yet.",
        unclear="We did not understand your reply.",
        ask_people="Press 1 if you are safe. Press 2 if you need help.",
        ask_staff="Press 1 to acknowledge and relay. Press 2 if you need help.",
        again="We did not get a key that we know.",
        safe="You pressed 1: you are safe. Thank you, it is noted.",
        relayed="You pressed 1: you have it and relay it. Thank you, it is noted.",
        help="You pressed 2: you need help. The duty office is told. In mortal danger, call the local police now.",
        bye="We did not get your answer. Please reply by text message, or by the link in it. Goodbye.",
        hotline="Hotline",
    ),
    "es": Spoken(
        tag="es-ES",
        caller="Buenos días. Le llama la oficina de guardia de protección consular.",
        drill="Esto es un simulacro, no un aviso real.",
        cancelled="El aviso queda anulado.",
        silent="Todavía faltan respuestas.",
        unclear="No hemos entendido su respuesta.",
        ask_people="Pulse 1 si está a salvo. Pulse 2 si necesita ayuda.",
        ask_staff="Pulse 1 para confirmar y transmitir. Pulse 2 si necesita ayuda.",
        again="No hemos recibido una tecla válida.",
        safe="Ha pulsado 1: está a salvo. Gracias, queda anotado.",
        relayed="Ha pulsado 1: lo ha recibido y lo transmite. Gracias, queda anotado.",
        help="Ha pulsado 2: necesita ayuda. La guardia está avisada. En peligro de muerte, llame ya a la policía.",
        bye="No hemos recibido su respuesta. Responda por mensaje de texto o con el enlace del mensaje. Adiós.",
        hotline="Línea de ayuda",
    ),
    "it": Spoken(
        tag="it-IT",
        caller="Buongiorno. Chiama l'ufficio di turno per la protezione consolare.",
        drill="Questa è un'esercitazione, non un'allerta reale.",
        cancelled="L'allerta è annullata.",
        silent="Mancano ancora delle risposte.",
        unclear="Non abbiamo capito la sua risposta.",
        ask_people="Prema 1 se è al sicuro. Prema 2 se ha bisogno di aiuto.",
        ask_staff="Prema 1 per confermare e inoltrare. Prema 2 se ha bisogno di aiuto.",
        again="Non abbiamo ricevuto un tasto valido.",
        safe="Ha premuto 1: è al sicuro. Grazie, ne abbiamo preso nota.",
        relayed="Ha premuto 1: ha ricevuto e inoltra. Grazie, ne abbiamo preso nota.",
        help="Ha premuto 2: ha bisogno di aiuto. L'ufficio è avvisato. In pericolo di vita, chiami la polizia.",
        bye="Non abbiamo ricevuto risposta. Risponda con un messaggio o con il suo collegamento. Arrivederci.",
        hotline="Linea diretta",
    ),
    "fr": Spoken(
        tag="fr-FR",
        caller="Bonjour. Ici la permanence de protection consulaire.",
        drill="Ceci est un exercice, pas une alerte réelle.",
        cancelled="L'alerte est annulée.",
        silent="Il manque encore des réponses.",
        unclear="Nous n'avons pas compris votre réponse.",
        ask_people="Appuyez sur 1 si vous êtes en sécurité. Appuyez sur 2 si vous avez besoin d'aide.",
        ask_staff="Appuyez sur 1 pour confirmer et relayer. Appuyez sur 2 si vous avez besoin d'aide.",
        again="Nous n'avons pas reçu de touche valable.",
        safe="Vous avez appuyé sur 1 : vous êtes en sécurité. Merci, c'est noté.",
        relayed="Vous avez appuyé sur 1 : vous avez reçu et vous relayez. Merci, c'est noté.",
        help="Vous avez appuyé sur 2 : vous avez besoin d'aide. La permanence le sait. En danger, appelez la police.",
        bye="Nous n'avons pas reçu votre réponse. Répondez par message ou par le lien du message. Au revoir.",
        hotline="Assistance",
    ),
}


def words(language: str) -> Spoken:
    """The words for a language tag; English for one that we have none in."""
    return SPOKEN.get(language.partition("-")[0].lower(), SPOKEN["en"])


def asked(said: Spoken, circle: Circle) -> str:
    """What the keys are for."""
    return said.ask_staff if circle is Circle.STAFF else said.ask_people


def speech(
    said: Spoken,
    *,
    purpose: Purpose,
    circle: Circle,
    drill: bool,
    level: str,
    headline: str,
    instruction: str,
    hotline: str,
) -> str:
    """All that a call says first: who calls, what is the matter, what to do, what the keys are for."""
    # The end of a sentence in each language, so that the voice pauses there.
    stop = "。" if said is SPOKEN["zh"] else ". "
    reasons = {Purpose.CANCEL: said.cancelled, Purpose.ESCALATION: said.silent, Purpose.ASK: said.unclear}
    what = _cut(stop.join(part.strip().rstrip("。.") for part in (f"{level}: {headline}", instruction) if part.strip()))
    digits = " ".join(hotline) if hotline.isascii() and hotline.isdigit() else hotline  # a voice would say a quantity
    parts = [
        said.caller,
        said.drill if drill else "",
        reasons.get(purpose, ""),
        f"{what}{stop.strip()}",
        "" if purpose is Purpose.CANCEL else asked(said, circle),
        f"{said.hotline} {digits}{stop.strip()}",
    ]
    return " ".join(" ".join(part.split()) for part in parts if part.strip())


def _cut(text: str) -> str:
    return text if len(text) <= LONGEST else text[: LONGEST - 1] + "…"

"""Words for the values that events and views carry: levels, statuses, states, kinds, steps, channels.

An unknown value is shown as it is: a newer log must not break an older console.
"""

from __future__ import annotations

from typing import Final

from api.pages.i18n import N_

LEVELS: Final = {
    "blue": N_("Blue warning"),
    "yellow": N_("Yellow warning"),
    "orange": N_("Orange warning"),
    "red": N_("Red warning"),
}
STATUSES: Final = {
    "draft": N_("Draft"),
    "released": N_("In force"),
    "updated": N_("Replaced by an update"),
    "cancelled": N_("Cancelled"),
    "expired": N_("Expired"),
}
STATES: Final = {
    "waiting": N_("Not yet concerned"),
    "told": N_("Told"),
    "delivered": N_("Delivered"),
    "partial": N_("Partly acknowledged"),
    "acknowledged": N_("Acknowledged"),
    "relayed": N_("Relayed"),
    "escalated": N_("Silent, chased"),
    "asleep": N_("Asleep, bypassed"),
}
KINDS: Final = {
    "duty_office": N_("Duty office"),
    "county": N_("County office"),
    "station": N_("Station"),
}
STEPS: Final = {
    "duty": N_("officer on duty told"),
    "deputy": N_("deputy told"),
    "head": N_("head told"),
    "liaisons": N_("liaisons told"),
    "parent": N_("parent office told"),
    "voice": N_("called by voice"),
    "direct": N_("people told directly"),
}
CASES: Final = {
    "open": N_("Open"),
    "assigned": N_("Assigned"),
    "tasked": N_("Tasked"),
    "in_action": N_("In hand"),
    "closed": N_("Closed"),
    "verified": N_("Verified"),
    "reported": N_("Reported"),
    "comforted": N_("Comforted"),
    "aftercare": N_("Aftercare"),
    "emergency_aid": N_("Emergency aid"),
    "referred_to_mission": N_("Referred to the mission"),
    "contacted": N_("Contacted"),
}
CHANNELS: Final = {
    "sms": N_("SMS"),
    "voice": N_("Voice call"),
    "email": N_("Email"),
    "webpush": N_("Web push"),
    "stream": N_("Live stream"),
    "webhook": N_("Webhook"),
    "chat": N_("Chat group"),
}
ALL: Final = {
    "level": LEVELS,
    "status": STATUSES,
    "state": STATES,
    "kind": KINDS,
    "step": STEPS,
    "case": CASES,
    "channel": CHANNELS,
}

"""Sentences of refusals that the console shows in the reader's language.

Errors are written in English where the rule stands. Those a duty officer meets at this console are listed here so that
they are extracted for translation; any other is shown as it is. A test holds that these still are the words of the
domain and the desk.
"""

from __future__ import annotations

from typing import Final

from api.pages.i18n import N_

KNOWN: Final = (
    N_("%(code)s is the code of no country."),
    N_("A cancellation needs a reason."),
    N_("A country is named by two capital letters (ISO 3166)."),
    N_("A warning concerns at least one node of the hierarchy."),
    N_("A warning expires after it takes effect."),
    N_("A warning is released by somebody who did not write it."),
    N_("An official reminder is re-issued with the reference of the original."),
    N_("Ask one of them."),
    N_("Ask a second person, or break the glass with a reason."),
    N_("Breaking the glass needs a reason."),
    N_("Correct every language in which the warning went out."),
    N_("Correct the draft."),
    N_("Only staff of the node can take over its duty."),
    N_("Open a case where they need help."),
    N_("Read it again, then decide."),
    N_("Revise its expiry first."),
    N_("Say why it is withdrawn."),
    N_("Say why there is no second person."),
    N_("The contact card names the hotline, the mission and the local police."),
    N_("The draft's validity is over."),
    N_("There are no words of this person to read."),
    N_("There is no such warning."),
    N_("This person's answer is clear by now."),
    N_("Two texts have the same language."),
    N_("Write names or codes of two letters, with a comma between; for all countries, nothing."),
    N_("You saw version %(seen)s; it is at %(now)s now."),
    N_("“%(word)s” is not a country."),
)

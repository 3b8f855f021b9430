"""Sentences of refusals that the console shows in the reader's language.

Errors are written in English where the rule stands. Those a duty officer meets at this console are listed here so that
they are extracted for translation; any other is shown as it is. Tests hold that each is still said somewhere, and that
none is missing of those that the console may be told.
"""

from __future__ import annotations

from typing import Final

from api.pages.i18n import N_

KNOWN: Final = (
    N_("%(code)s is the code of no country."),
    N_("A cancellation needs a reason."),
    N_("A country is named by two capital letters (ISO 3166)."),
    N_("A drill over the real channels needs a reason."),
    N_("A point of the area lies on no globe."),
    N_("A warning concerns at least one node of the hierarchy."),
    N_("A warning expires after it takes effect."),
    N_("A warning is released by somebody who did not write it."),
    N_("Adopt one: fenghuo init."),
    N_("An official reminder is re-issued with the reference of the original."),
    N_("Ask a second person, or break the glass with a reason."),
    N_("Ask one of them."),
    N_("Ask the duty office for a grant, or somebody who has one."),
    N_("Breaking the glass needs a reason."),
    N_("Check the file with: fenghuo cap check FILE."),
    N_("Choose a date, a time and a time zone."),
    N_("Correct every language in which the warning went out."),
    N_("Correct the draft."),
    N_("Import one at a time."),
    N_("Load one: fenghuo hierarchy load FILE."),
    N_("No hierarchy is loaded."),
    N_("No rule pack is in force."),
    N_("Only staff of the node can take over its duty."),
    N_("Open a case where they need help."),
    N_("Open a new login link."),
    N_("Read it again, then decide."),
    N_("Revise it, or draft under another id."),
    N_("Revise its expiry first."),
    N_("Say why it is withdrawn."),
    N_("Say why there is no second person."),
    N_("Say why."),
    N_("Sign in again."),
    N_("The contact card names the hotline, the mission and the local police."),
    N_("The credential is unknown, expired or withdrawn."),
    N_("The draft's validity is over."),
    N_("The level is blue, yellow, orange or red."),
    N_("The message has no info block: it says nothing."),
    N_("The time of expiry cannot be read."),
    N_("There are no words of this person to read."),
    N_("There is no such warning."),
    N_("This person has not answered this warning."),
    N_("This person has not answered."),
    N_("This person's answer is clear by now."),
    N_("Two texts have the same language."),
    N_("Write names or codes of two letters, with a comma between; for all countries, nothing."),
    N_("You are not signed in."),
    N_("You saw version %(seen)s; it is at %(now)s now."),
    N_("“%(word)s” is not a country."),
)

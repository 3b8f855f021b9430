"""A key is good for one request: the same again is answered as before, another one is refused."""

from __future__ import annotations

from given import code_of

from domain import commands, ids
from domain.commands import Accepted, CommandAccepted
from domain.errors import Refused
from domain.events import fold

ACCEPTED = Accepted(fingerprint="f1", result="w1")


def test_a_command_is_noted_with_its_answer():
    assert commands.accept(None, fingerprint="f1", result="w1") == [CommandAccepted(accepted=ACCEPTED)]
    assert fold(commands.evolve, [CommandAccepted(accepted=ACCEPTED)]) == ACCEPTED


def test_the_same_request_again_changes_nothing():
    assert commands.accept(ACCEPTED, fingerprint="f1", result="w1") == []


def test_another_request_under_the_same_key_is_refused():
    assert code_of(Refused, lambda: commands.accept(ACCEPTED, fingerprint="f2", result="w1")) == "command.key_reused"


def test_keys_of_two_people_do_not_meet():
    streams = {ids.command_stream(actor, key) for actor in ("ann", "an") for key in ("k", "nk")}

    assert len(streams) == 4
    assert ids.command_stream("ann", "k") == ids.command_stream("ann", "k")

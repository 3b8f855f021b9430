"""Names of streams, and ids that come out the same each time they are computed.

A stream id is text, `category-key`, so that an auditor can read it. Ids that must not double when a step is run
again (a plan, a shard, an answer) are UUIDs of version 5 over what they stand for.
"""

from __future__ import annotations

from uuid import UUID, uuid5

FENGHUO = UUID("5f1f4e2c-6f0b-5c0e-9a58-0d2b5f0c9b51")  # the namespace of every derived id


def derived(*parts: str) -> str:
    """A 32-digit id that depends on `parts` alone."""
    return uuid5(FENGHUO, "\x1f".join(parts)).hex


def cap_warning_id(sender: str, identifier: str, sent: str) -> str:
    """The id of a warning that came as CAP: the triple that CAP 1.2 (3.2.1) says is unique."""
    return derived("cap", sender, identifier, sent)


def warning_stream(warning_id: str) -> str:
    return f"warning-{warning_id}"


def relay_stream(warning_id: str, node_id: str) -> str:
    return f"relay-{warning_id}-{node_id}"


def plan_stream(trigger_event_id: str) -> str:
    return f"plan-{trigger_event_id}"


def shard_stream(shard_id: str) -> str:
    return f"shard-{shard_id}"


def receipts_stream(shard_id: str) -> str:
    return f"receipts-{shard_id}"


def ladder_stream(shard_id: str) -> str:
    return f"ladder-{shard_id}"


def reach_test_stream(test_id: str) -> str:
    return f"reachtest-{test_id}"


def answer_stream(warning_id: str, person_id: str) -> str:
    return f"answer-{warning_id}-{person_id}"


def node_stream(node_id: str) -> str:
    return f"node-{node_id}"


def person_stream(person_id: str) -> str:
    return f"person-{person_id}"


def roster_stream(node_id: str) -> str:
    return f"roster-{node_id}"


def grant_stream(grant_id: str) -> str:
    return f"grant-{grant_id}"


def token_stream(digest: str) -> str:
    return f"token-{digest}"


def case_stream(case_id: str) -> str:
    return f"case-{case_id}"


def rule_pack_stream(rule_pack_id: str) -> str:
    return f"rulepack-{rule_pack_id}"


def feed_stream(feed_id: str) -> str:
    return f"feed-{feed_id}"


def rate_stream(provider: str) -> str:
    return f"rate-{provider}"


def command_stream(actor: str, idempotency_key: str) -> str:
    return f"command-{derived('command', actor, idempotency_key)}"


def category(stream: str) -> str:
    """`warning` of `warning-5f1f…`."""
    return stream.partition("-")[0]

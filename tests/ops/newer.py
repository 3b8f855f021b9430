"""Fenghuo as its next version could be: the same program, which knows two kinds of events more.

python -m tests.ops.newer <command> …
"""

from __future__ import annotations

from domain.events import Event, topic


@topic("warning.annotated")
class WarningAnnotated(Event):
    """Somebody wrote a remark beside a warning."""

    warning_id: str
    remark: str


@topic("shard.annotated")
class ShardAnnotated(Event):
    """Somebody wrote a remark beside a shard."""

    shard_id: str
    remark: str


if __name__ == "__main__":
    from infra.cli import main

    main.run()

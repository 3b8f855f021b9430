"""The settings section `kafka`, and the names of the topics that follow from it."""

from __future__ import annotations

import socket
from typing import Literal, Self

from pydantic import BaseModel, Field, SecretStr, model_validator

from domain.rulepacks import LANES, Lane


class KafkaConfig(BaseModel):
    """Where Kafka is, and how it is used. `bootstrap`: `host:port`, several with commas between.

    `member` names this worker among the others, and must be the same after a restart and nobody else's; where it is
    empty it is the host's name. `held`: shards that a worker takes from one lane before it has to end some. `failures`:
    how often a shard may fail for a reason that nobody foresaw before it is laid aside. `partitions` are those of each
    lane and of the feed, where this program makes the topics; `replication` -1 is what the brokers say.
    `resend_s`: a shard that nobody has begun after so long is announced again, then after twice that, and so on.
    `overdue_s`: an idle worker takes from the database what is due there and that no broker has brought for so long.
    """

    bootstrap: str = Field(pattern=r"^[^\s,:]+:[0-9]+(,[^\s,:]+:[0-9]+)*$")
    topic_prefix: str = Field(default="fenghuo", pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]{0,99}$")
    security: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    username: str = ""
    password: SecretStr = SecretStr("")
    ca_file: str = ""
    member: str = Field(default="", pattern=r"^[a-zA-Z0-9._-]{0,100}$")
    source: str = ""
    partitions: int = Field(default=12, ge=1, le=10_000)
    replication: int = Field(default=-1, ge=-1, le=9)
    request_timeout_s: float = Field(default=15.0, gt=0, le=300)
    session_timeout_s: float = Field(default=10.0, ge=0.5, le=1800)
    batch: int = Field(default=500, ge=1, le=10_000)
    held: int = Field(default=512, ge=1, le=100_000)
    failures: int = Field(default=5, ge=1, le=100)
    resend_s: float = Field(default=5.0, gt=0, le=3600)
    overdue_s: float = Field(default=15.0, gt=0, le=3600)

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if self.security.startswith("SASL") and not (self.username and self.password.get_secret_value()):
            raise ValueError("SASL needs a username and a password")
        return self

    @property
    def named(self) -> str:
        """The name of this worker."""
        return self.member or socket.gethostname()

    @property
    def feed(self) -> str:
        return f"{self.topic_prefix}.feed"

    @property
    def feed_position(self) -> str:
        return f"{self.topic_prefix}.feed.position"

    @property
    def dead(self) -> str:
        return f"{self.topic_prefix}.dispatch.dead"

    def lane(self, lane: Lane) -> str:
        return f"{self.topic_prefix}.dispatch.{lane.value}"

    def group(self, lane: Lane) -> str:
        return f"{self.topic_prefix}-work-{lane.value}"

    @property
    def lanes(self) -> dict[str, Lane]:
        """The lane of each lane's topic."""
        return {self.lane(lane): lane for lane in LANES}

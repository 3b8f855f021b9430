"""A broker that is reached by TLS and SASL as well, with a certificate authority of its own, and settings for it."""

from __future__ import annotations

from pathlib import Path

from infra.kafka.settings import KafkaConfig
from tests.contracts.authority import Authority
from tests.kafka.brokers import Cluster, Guard

USER, PASSWORD = "fenghuo", "whisper-9f3a"


class Secured:
    """A broker with a listener of TLS and a password beside the open one, and whom to trust."""

    def __init__(self, folder: Path) -> None:
        """Raises Missing. To be started and stopped as a cluster is."""
        self.trusted, self.stranger = Authority(folder, "ours"), Authority(folder, "stranger")
        certificate, key = self.trusted.signed()
        pem = folder / "broker.pem"
        pem.write_bytes(key.read_bytes() + certificate.read_bytes())
        self.cluster = Cluster(1, guarded=Guard(pem, USER, PASSWORD))

    def settings(self, **more: str) -> dict[str, str]:
        """As an operator writes them, in the environment."""
        said = {
            "bootstrap": self.cluster.secured,
            "security": "SASL_SSL",
            "username": USER,
            "password": PASSWORD,
            "ca_file": str(self.trusted.file),
            "topic_prefix": "secured",
            "request_timeout_s": "5",
            **more,
        }
        return {f"FENGHUO_KAFKA__{name.upper()}": value for name, value in said.items()}

    def config(self, **more: str) -> KafkaConfig:
        return KafkaConfig.model_validate(
            {name.removeprefix("FENGHUO_KAFKA__").lower(): value for name, value in self.settings(**more).items()}
        )

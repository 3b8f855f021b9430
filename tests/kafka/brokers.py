"""Real Apache Kafka for the tests: its artefacts resolved once by Maven, and clusters of one or three brokers (KRaft).

`python -m tests.kafka.brokers` resolves them beforehand. They lie in ~/.cache/fenghuo-kafka-<version>, or where
`FENGHUO_KAFKA_CACHE` says. A broker ends with the process that started it, however that ends.
"""

from __future__ import annotations

import asyncio
import base64
import fcntl
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from aiokafka import AIOKafkaConsumer

from tests.ports import free_ports

VERSION, LOG4J = "4.1.0", "2.24.3"
SCALA = "2.13"
START_S = 60.0
RESOLVE_S = 900.0

POM = f"""<project>
  <modelVersion>4.0.0</modelVersion>
  <groupId>fenghuo.tests</groupId>
  <artifactId>kafka</artifactId>
  <version>1</version>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId>
      <artifactId>kafka_{SCALA}</artifactId>
      <version>{VERSION}</version>
    </dependency>
    <dependency>
      <groupId>org.apache.logging.log4j</groupId>
      <artifactId>log4j-slf4j-impl</artifactId>
      <version>{LOG4J}</version>
    </dependency>
  </dependencies>
</project>
"""
LOGGING = """status=error
appender.out.type=Console
appender.out.name=out
appender.out.layout.type=PatternLayout
appender.out.layout.pattern=%d %p %c %m%n
rootLogger.level=warn
rootLogger.appenderRefs=out
rootLogger.appenderRef.out.ref=out
"""
# Linux ends a broker with whoever started it, also where that was killed and could not see to it.
TIED = "import ctypes, os, sys; ctypes.CDLL(None).prctl(1, 9); os.execvp(sys.argv[1], sys.argv[1:])"


class Missing(Exception):
    """Kafka cannot be had here, and why."""


def cache() -> Path:
    named = os.environ.get("FENGHUO_KAFKA_CACHE")
    return Path(named) if named else Path.home() / ".cache" / f"fenghuo-kafka-{VERSION}"


def resolve() -> Path:
    """The folder of jars, filled by Maven where it is not. Raises Missing."""
    for program in ("java", "mvn"):
        if program == "mvn" and (cache() / "complete").exists():
            continue
        if shutil.which(program) is None:
            raise Missing(f"{program} is not here; on Debian: apt-get install default-jre-headless maven")
    folder = cache()
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the test processes come here at the same time
        if not (folder / "complete").exists():
            (folder / "pom.xml").write_text(POM)
            command = ["mvn", "-q", "-B", "dependency:copy-dependencies", f"-DoutputDirectory={folder / 'lib'}"]
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=RESOLVE_S, check=False)
            if done.returncode:
                said = next((line for line in done.stdout.splitlines() if "ERROR" in line), done.stderr[-300:])
                raise Missing(f"Maven could not resolve Kafka {VERSION}: {said}")
            (folder / "complete").touch()
    return folder / "lib"


class Guard(NamedTuple):
    """What a listener of SASL_SSL wants: a PEM of its key and certificate, and a user, for SCRAM-SHA-512 and PLAIN."""

    pem: Path
    user: str
    password: str

    def settings(self) -> dict[str, object]:
        plain = "org.apache.kafka.common.security.plain.PlainLoginModule"
        scram = "org.apache.kafka.common.security.scram.ScramLoginModule"
        return {
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": self.pem,
            "sasl.enabled.mechanisms": "SCRAM-SHA-512,PLAIN",
            "listener.name.sasl_ssl.plain.sasl.jaas.config": (
                f'{plain} required username="{self.user}" password="{self.password}"'
                f' user_{self.user}="{self.password}";'
            ),
            "listener.name.sasl_ssl.scram-sha-512.sasl.jaas.config": f"{scram} required;",
        }

    def scram(self) -> list[str]:
        return ["--add-scram", f"SCRAM-SHA-512=[name={self.user},password={self.password}]"]


class Broker:
    """One broker, which is a controller as well."""

    def __init__(self, cluster: Cluster, number: int, port: int) -> None:
        self.number, self.port = number, port
        self._cluster = cluster
        self._folder = cluster.folder / str(number)
        self._process: subprocess.Popen[bytes] | None = None

    def format(self, properties: str, more: Sequence[str] = ()) -> subprocess.Popen[bytes]:
        """Begins to format its storage, with `more` options."""
        self._folder.mkdir()
        named = self._folder / "server.properties"
        named.write_text(properties)
        command = [*self._java("kafka.tools.StorageTool"), "format", f"--cluster-id={self._cluster.cluster_id}"]
        command += ["--config", str(named), *more]
        with (self._folder / "out").open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT)

    @property
    def said(self) -> str:
        return (self._folder / "out").read_text(errors="replace")[-2000:]

    def start(self) -> None:
        """Starts it; call from the main thread, with which it ends. `ready` says when it answers."""
        assert self._process is None
        command = [*self._java("kafka.Kafka"), str(self._folder / "server.properties")]
        with (self._folder / "out").open("ab") as out:
            self._process = subprocess.Popen(
                [sys.executable, "-c", TIED, *command], stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )

    def kill(self) -> None:
        """As a power cut: nothing is closed."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    @property
    def ready(self) -> bool:
        if self._process is not None and self._process.poll() is not None:
            raise RuntimeError(f"broker {self.number} ended: {self.said}")
        with socket.socket() as probe:
            probe.settimeout(0.5)
            return probe.connect_ex((self._cluster.host, self.port)) == 0

    async def up(self) -> None:
        async with asyncio.timeout(START_S):
            while not self.ready:  # noqa: ASYNC110  another process comes up
                await asyncio.sleep(0.05)

    def _java(self, main: str) -> list[str]:
        return [
            *("java", "-Xmx256m", "-Xms64m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xshare:auto"),
            f"-Dlog4j2.configurationFile={self._cluster.folder / 'log4j2.properties'}",
            *("-cp", f"{self._cluster.jars}/*", main),
        ]


class Cluster:
    """Brokers on loopback, or at another address of this machine, formatted with a random cluster id. `start` returns
    when all answer.
    """

    def __init__(self, size: int, host: str = "127.0.0.1", *, guarded: Guard | None = None) -> None:
        """`guarded`: beside the open listener, one of TLS and SASL at `secured`."""
        self.jars = resolve()
        self.host = host
        self._guard = guarded
        self.cluster_id = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode().rstrip("=")
        self._temporary = tempfile.TemporaryDirectory(prefix="fenghuo-kafka-")
        self.folder = Path(self._temporary.name)
        (self.folder / "log4j2.properties").write_text(LOGGING)
        ports = free_ports(3 * size)
        self.brokers = [Broker(self, number, ports[number]) for number in range(size)]
        self._controllers = ports[size : 2 * size]
        self._secured = ports[2 * size :]
        self.secured = ",".join(f"{host}:{port}" for port in self._secured)
        self.bootstrap = ",".join(f"{host}:{port}" for port in ports[:size])

    def start(self) -> None:
        self.launch()
        asyncio.run(self.first_group())

    def launch(self) -> None:
        """Returns when all listen. Call from the main thread, with which they end; `first_group` is left to do."""
        size = len(self.brokers)
        formatting: list[subprocess.Popen[bytes]] = []
        voters = ",".join(f"{n}@127.0.0.1:{port}" for n, port in enumerate(self._controllers))
        for broker in self.brokers:
            controller = self._controllers[broker.number]
            settings = {
                "process.roles": "broker,controller",
                "node.id": broker.number,
                "controller.quorum.voters": voters,
                "listeners": f"PLAINTEXT://{self.host}:{broker.port},CONTROLLER://127.0.0.1:{controller}",
                "advertised.listeners": f"PLAINTEXT://{self.host}:{broker.port}",
                "controller.listener.names": "CONTROLLER",
                "listener.security.protocol.map": "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT",
                "inter.broker.listener.name": "PLAINTEXT",
                "log.dirs": self.folder / str(broker.number) / "data",
                "auto.create.topics.enable": "false",
                "default.replication.factor": size,
                "min.insync.replicas": max(1, size - 1),
                "offsets.topic.replication.factor": size,
                "offsets.topic.num.partitions": 3,
                "transaction.state.log.replication.factor": size,
                "transaction.state.log.min.isr": max(1, size - 1),
                "transaction.state.log.num.partitions": 2,
                "group.initial.rebalance.delay.ms": 0,
                "group.min.session.timeout.ms": 500,
                "broker.session.timeout.ms": 3000,
                "broker.heartbeat.interval.ms": 500,
                "replica.lag.time.max.ms": 3000,
                "num.network.threads": 2,
                "num.io.threads": 2,
                "log.cleaner.dedupe.buffer.size": 4 * 1024 * 1024,
            }
            if self._guard is not None:
                own = f"SASL_SSL://127.0.0.1:{self._secured[broker.number]}"
                for name in ("listeners", "advertised.listeners"):
                    settings[name] = f"{settings[name]},{own}"
                settings["listener.security.protocol.map"] = (
                    "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,SASL_SSL:SASL_SSL"
                )
                settings |= self._guard.settings()
            properties = "".join(f"{name}={value}\n" for name, value in settings.items())
            formatting.append(broker.format(properties, self._guard.scram() if self._guard else ()))
        for broker, process in zip(self.brokers, formatting, strict=True):
            if process.wait(START_S):
                raise RuntimeError(f"the storage could not be formatted: {broker.said}")
            broker.start()
        end = time.monotonic() + START_S
        while not all(broker.ready for broker in self.brokers):
            if time.monotonic() > end:
                raise TimeoutError("Kafka did not come up")
            time.sleep(0.05)

    async def first_group(self) -> None:
        """The first group that is asked for makes the brokers make the topic of groups; until then none is found.

        Raises RuntimeError with what a broker said that ended meanwhile, as one does that cannot have all of its ports.
        """
        client: Any = AIOKafkaConsumer(bootstrap_servers=self.bootstrap.split(","), group_id="first")
        logging.disable(logging.ERROR)
        try:
            await client.start()
            client.subscribe(["none"])
            async with asyncio.timeout(START_S):
                await client._coordinator.ensure_coordinator_known()
        except TimeoutError:
            for broker in self.brokers:
                assert broker.ready
            raise
        finally:
            logging.disable(logging.NOTSET)
            await client.stop()

    def stop(self) -> None:
        for broker in self.brokers:
            broker.kill()
        self._temporary.cleanup()


if __name__ == "__main__":
    try:
        print(f"Kafka {VERSION} is in {resolve()}.", file=sys.stderr)
    except Missing as missing:
        print(f"The tests of Kafka need it: {missing}", file=sys.stderr)

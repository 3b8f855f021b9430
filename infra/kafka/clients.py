"""The border to `aiokafka`, which ships no types: the clients as this program uses them, and their errors as ours."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextvars import ContextVar
from typing import Any

import aiokafka
import aiokafka.abc
import aiokafka.admin
from aiokafka.errors import (
    AuthenticationFailedError,
    CommitFailedError,
    IllegalStateError,
    KafkaConnectionError,
    KafkaError,
    SaslAuthenticationFailed,
    TopicAlreadyExistsError,
    UnsupportedSaslMechanismError,
)
from aiokafka.helpers import create_ssl_context

from domain.errors import InvalidInput, Unreachable
from infra.kafka.settings import KafkaConfig

Consumer = Any
Producer = Any
Part = aiokafka.TopicPartition
Listener = aiokafka.abc.ConsumerRebalanceListener

_Admin: Any = aiokafka.admin.AIOKafkaAdminClient
_NewTopic: Any = aiokafka.admin.NewTopic
_Producer: Any = aiokafka.AIOKafkaProducer
_Consumer: Any = aiokafka.AIOKafkaConsumer

TAKEN = TopicAlreadyExistsError.errno
STOP_S = 5.0
LARGEST = 8 * 1024 * 1024  # bytes of one message; a release with texts in twenty languages has some 100 KiB


def _common(config: KafkaConfig) -> dict[str, Any]:
    found: dict[str, Any] = {
        "bootstrap_servers": config.bootstrap.split(","),
        "request_timeout_ms": int(config.request_timeout_s * 1000),
        "retry_backoff_ms": 200,
        "metadata_max_age_ms": 30_000,
        "security_protocol": config.security,
    }
    if config.security.endswith("SSL"):
        try:
            found["ssl_context"] = create_ssl_context(cafile=config.ca_file or None)
        except OSError as error:
            raise InvalidInput("kafka.ca_file", f"kafka.ca_file cannot be read: {error.strerror}.") from error
    if config.security.startswith("SASL"):
        found["sasl_mechanism"] = config.mechanism
        found["sasl_plain_username"] = config.username
        found["sasl_plain_password"] = config.password.get_secret_value()
    return found


class _Asked:
    """Something that is asked of Kafka, and the last reason why a broker could not be connected."""

    over = False
    why: BaseException | None = None


class _Reasons(logging.Filter):
    """The client says in its log alone why it could not connect, and raises that it could not."""

    def filter(self, record: logging.LogRecord) -> bool:
        asked = _asked.get()
        if asked is None or asked.over or not str(record.msg).startswith("Unable ") or not record.args:
            return True
        asked.why = next((one for one in tuple(record.args) if isinstance(one, BaseException)), asked.why)
        return False  # our own error says it


_asked: ContextVar[_Asked | None] = ContextVar("asked", default=None)
logging.getLogger("aiokafka").addFilter(_Reasons())
logging.getLogger("aiokafka.conn").setLevel(logging.INFO)  # below it writes out requests, passwords in them


@contextlib.contextmanager
def answered() -> Iterator[None]:
    """Turns what the client raises into Unreachable."""
    asked = _Asked()
    token = _asked.set(asked)
    try:
        yield
    except KafkaError as error:
        raise _unreachable(asked.why or error) from error
    finally:
        asked.over = True  # tasks that were begun within it live on
        _asked.reset(token)


def _unreachable(error: BaseException) -> Unreachable:
    match error:
        case ssl.SSLCertVerificationError(verify_message=said):
            code, what, remedy = "kafka.certificate", f"a broker's certificate is not trusted, {said}", "kafka.ca_file"
        case AuthenticationFailedError() | SaslAuthenticationFailed():
            code, what, remedy = "kafka.credentials", "user or password is refused", "kafka.username and password"
        case UnsupportedSaslMechanismError():
            code, what, remedy = "kafka.mechanism", "the brokers do not take this mechanism", "kafka.mechanism"
        case OSError() | KafkaConnectionError():  # an error of TLS is an OSError as well
            what = str(error) or type(error).__name__
            code, remedy = "kafka.unreachable", "the brokers, kafka.bootstrap and kafka.security"
        case _:
            code, what = "kafka.unreachable", str(error) or type(error).__name__
            remedy = "the brokers"
    return Unreachable(code, f"Kafka did not do as asked: {what}.", f"Look at {remedy}.")


@contextlib.asynccontextmanager
async def _running(client: Any) -> AsyncIterator[Any]:
    try:
        with answered():
            await client.start()
        yield client
    finally:
        await _stopped(client.stop())


async def _stopped(stop: Coroutine[Any, Any, None]) -> None:
    """Stops a client within a moment, in a task of its own.

    aiokafka 0.14 raises CancelledError from `stop` where a part of it had not begun to run yet: here that would look
    as if we were cancelled. It keeps to itself that we were, where that comes while it stops. And a producer whose
    brokers are gone would wait for what nobody acknowledges.
    """
    stopping = asyncio.create_task(stop)
    done, late = await asyncio.wait([stopping], timeout=STOP_S)
    for task in late:
        task.cancel()
    gone, _ = await asyncio.wait(late, timeout=STOP_S) if late else (done, late)
    await asyncio.gather(*gone, return_exceptions=True)


@contextlib.asynccontextmanager
async def producer(config: KafkaConfig) -> AsyncIterator[Producer]:
    """A producer for the time of a block: all replicas that are in step acknowledge, and no repeat of it is kept twice.

    Raises Unreachable.
    """
    made = _Producer(
        **_common(config),
        acks="all",
        enable_idempotence=True,
        max_batch_size=256 * 1024,
        max_request_size=LARGEST,
    )
    async with _running(made):
        yield made


@contextlib.asynccontextmanager
async def consumer(config: KafkaConfig, group: str | None = None, member: str | None = None) -> AsyncIterator[Consumer]:
    """A consumer for the time of a block, subscribed to nothing yet; it never commits by itself. With `member` it keeps
    its place in the group while it restarts. Raises Unreachable.
    """
    session_ms = int(config.session_timeout_s * 1000)
    made = _Consumer(
        **_common(config),
        group_id=group,
        group_instance_id=member,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=session_ms // 3,
        max_partition_fetch_bytes=LARGEST,
    )
    async with _running(made):
        yield made


@contextlib.asynccontextmanager
async def administering(config: KafkaConfig) -> AsyncIterator[Any]:
    """A client that asks about topics and groups, for the time of a block. Raises Unreachable."""
    admin = _Admin(**_common(config))
    try:
        with answered():
            await admin.start()
        yield admin
    finally:
        await _stopped(admin.close())


async def commit(reading: Consumer, offsets: dict[Part, int]) -> bool:
    """Writes down from where each partition is to be read next; False where one of them is somebody else's by now.

    Raises Unreachable.
    """
    # Who is cancelled here waits for the answer a moment longer: else the client ends with an error that nobody reads.
    asking = asyncio.create_task(reading.commit(offsets))
    try:
        with answered():
            try:
                await asyncio.shield(asking)
            except (CommitFailedError, IllegalStateError):
                return False
    except asyncio.CancelledError:
        await asyncio.wait([asking], timeout=STOP_S)
        if asking.done() and not asking.cancelled():
            asking.exception()
        raise
    return True


async def ensured(config: KafkaConfig, topics: dict[str, dict[str, str]], partitions: int) -> None:
    """Makes the topics (settings by name) that are not there. Raises Unreachable."""
    replicas = config.replication
    admin = _Admin(**_common(config))
    try:
        with answered():
            await admin.start()
            known = set(await admin.list_topics())
            new = [
                _NewTopic(name, partitions, replicas, None if replicas > 0 else {}, settings)
                for name, settings in topics.items()
                if name not in known
            ]
            if not new:
                return
            response = await admin.create_topics(new)
            for name, code, *said in response.topic_errors:
                if code not in (0, TAKEN):
                    raise Unreachable("kafka.topic", f"The topic {name} cannot be made: {' '.join(map(str, said))}.")
            async with asyncio.timeout(config.request_timeout_s):
                while not set(topics) <= set(await admin.list_topics()):  # noqa: ASYNC110  brokers tell each other
                    await asyncio.sleep(0.05)
    except TimeoutError as error:
        raise Unreachable("kafka.topic", "The topics were made, and the brokers do not know of them.") from error
    finally:
        await _stopped(admin.close())


async def whole(config: KafkaConfig, topic: str, last: int | None = None) -> list[Any]:
    """Every message of a topic as it is now, each partition from its beginning, or the `last` of each; none where there
    is no such topic. Raises Unreachable.
    """
    parts = await parts_of(config, topic)
    found: list[Any] = []
    async with consumer(config) as reading:
        if not parts:
            return found
        with answered():
            ends: dict[Part, int] = await reading.end_offsets(parts)
            begins: dict[Part, int] = await reading.beginning_offsets(parts)
            reading.assign(parts)
            for part in parts:
                reading.seek(part, begins[part] if last is None else max(begins[part], ends[part] - last))
            left = {part for part in parts if ends[part] > begins[part]}
            while left:
                for part, records in (await reading.getmany(timeout_ms=200)).items():
                    found += [record for record in records if record.offset < ends[part]]
                left = {part for part in left if await reading.position(part) < ends[part]}
    return found


async def parts_of(config: KafkaConfig, topic: str) -> list[Part]:
    """The partitions of a topic. Raises Unreachable."""
    async with administering(config) as admin:
        return await parts_known(admin, [topic])


async def parts_known(admin: Any, topics: list[str]) -> list[Part]:
    """The partitions of these topics, as a client knows them. Raises Unreachable."""
    with answered():
        described = await admin.describe_topics(topics)
    return sorted(Part(found["topic"], part["partition"]) for found in described for part in found["partitions"])

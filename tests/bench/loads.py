"""How much the benchmarks of `make bench-scale` take on: all of it, or just enough to see that each works."""

from __future__ import annotations

import msgspec


class Load(msgspec.Struct, frozen=True, kw_only=True):
    """`rounds`: how often each figure is measured beside its ceiling; the median counts.

    `clients`: of the API and of the log at the same time; `requests` of the API in each round, to so many `stations`.
    `saves_each`: appends of each client. `replayed`: people, and fan-outs to them, in the log that is folded.
    `people`: of the fan-out on PostgreSQL; `kafka_people`: of that through Kafka, where a worker has so many
    `connections` to its provider. `releases`: in each round. `events`: to which the log grows.
    """

    rounds: int = 5
    clients: int = 200
    requests: int = 4000
    stations: int = 500
    saves_each: int = 50
    replayed: tuple[int, int] = (2000, 3)
    people: int = 100_000
    kafka_people: int = 40_000
    connections: int = 16
    releases: int = 60
    events: int = 10_000_000


FULL = Load()
SMALL = Load(
    rounds=1,
    clients=50,
    requests=300,
    stations=100,
    saves_each=10,
    replayed=(200, 1),
    people=600,
    kafka_people=600,
    releases=10,
    events=20_000,
)
now = FULL

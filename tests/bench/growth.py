"""stub"""

from tests.bench.figures import Figure

svg: str | None = None
on = "postgres"


async def measured() -> list[Figure]:
    return []

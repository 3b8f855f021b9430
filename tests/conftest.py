"""Parts that tests of several folders share."""

from tests.postgres_part import own_server, postgres

__all__ = ["own_server", "postgres"]

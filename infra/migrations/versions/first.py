"""The log, the vault and the checkpoints."""

from alembic import op

revision = "1"
down_revision = None
branch_labels = None
depends_on = None


def upgrade(schema: str) -> None:
    for statement in STATEMENTS:
        op.execute(statement.replace("{s}", f'"{schema}"'))


STATEMENTS = (
    # Byte order (C): what is sorted by the database is sorted as on SQLite.
    """CREATE TABLE {s}.stored_events (
        originator_id text COLLATE "C" NOT NULL,
        originator_version bigint NOT NULL,
        topic text NOT NULL,
        state bytea NOT NULL,
        notification_id bigint NOT NULL,
        PRIMARY KEY (originator_id, originator_version)
    ) WITH (
        autovacuum_vacuum_threshold = 100000000, autovacuum_vacuum_scale_factor = 0.5,
        autovacuum_analyze_threshold = 1000, autovacuum_analyze_scale_factor = 0.01
    )""",
    "CREATE UNIQUE INDEX stored_events_notification_id_idx ON {s}.stored_events (notification_id)",
    # To lock a table so, a role would need the right to change its rows. This takes the lock as the owner, for the
    # transaction of the caller; the last position is read by a statement of its own, after the lock is had.
    """CREATE FUNCTION {s}.lock_log() RETURNS bigint
        LANGUAGE plpgsql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
        BEGIN
            LOCK TABLE {s}.stored_events IN EXCLUSIVE MODE;
            RETURN (SELECT coalesce(max(notification_id), 0) FROM {s}.stored_events);
        END $$""",
    "REVOKE ALL ON FUNCTION {s}.lock_log() FROM PUBLIC",
    """CREATE TABLE {s}.checkpoint (
        size bigint PRIMARY KEY, position bigint NOT NULL, frontier text NOT NULL, note text NOT NULL
    )""",
    'CREATE TABLE {s}.person_key (key_id text COLLATE "C" PRIMARY KEY, wrapped bytea)',
    """CREATE TABLE {s}.addresses (
        digest bytea NOT NULL, person_id text COLLATE "C" NOT NULL, noted bigint NOT NULL,
        PRIMARY KEY (digest, person_id)
    )""",
    "CREATE INDEX addresses_person ON {s}.addresses (person_id)",
    "CREATE TABLE {s}.secret (name text PRIMARY KEY, wrapped bytea NOT NULL)",
    """CREATE TABLE {s}.noting (
        one integer PRIMARY KEY CHECK (one = 1), mark bigint NOT NULL, forgotten bigint NOT NULL
    )""",
    "INSERT INTO {s}.noting VALUES (1, 0, 0)",
)

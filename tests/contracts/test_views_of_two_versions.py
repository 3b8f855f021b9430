"""Two programs whose code gives other rows, on one database of views: neither harms the other."""

from __future__ import annotations

import pytest
from log_rig import NOW, said, word
from sqlalchemy import Column, Integer, Text, func, select

from domain.errors import UnknownEvent, Unreachable
from domain.events import Metadata, Recorded
from infra.postgres import conninfo
from projections.follower import Views
from projections.postgres import postgres_views
from projections.projection import Projection
from projections.sqlite import sqlite_views

META = Metadata(event_id="e", recorded_at=NOW, actor="ann", correlation_id="c1")
LOG = [Recorded("command-1", n, META, said(f"w{n}"), n) for n in range(1, 10)]


def read(after: int, limit: int) -> list[Recorded]:
    return [r for r in LOG if r.position > after][:limit]


class Old(Projection):
    """One row a word."""

    name = "words"
    code_version = 1

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.words = self.table("words", Column("n", Integer, primary_key=True), Column("word", Text))

    def apply(self, events, db):
        for r in events:
            db.execute(self.words.insert().values(n=r.position, word=word(r.event)))

    def dump(self, db):
        for row in db.execute(select(self.words).order_by(self.words.c.n)).mappings():
            yield "words", dict(row)


class New(Projection):
    """The same view of a newer program: how many words there were, in a table of the same name."""

    name = "words"
    code_version = 2

    def __init__(self, generation: int = 0) -> None:
        super().__init__(generation)
        self.words = self.table("words", Column("counted", Integer, primary_key=True))

    def apply(self, events, db):
        for r in events:
            db.execute(self.words.insert().values(counted=r.position))

    def dump(self, db):
        yield "words", {"count": db.execute(select(func.count()).select_from(self.words)).scalar_one()}


class Newest(New):
    code_version = 3


@pytest.fixture(params=["sqlite", "postgresql"])
def opened(request, tmp_path):
    """Opens the views of one database with the code of a program, as often as wanted."""
    made: list[Views] = []

    def another(cls) -> Views:
        made.append(Views(engine(), [cls]))
        return made[-1]

    if request.param == "sqlite":
        engine = lambda: sqlite_views(tmp_path / "views.sqlite")  # noqa: E731
        yield another
        for each in made:
            each.close()
        return
    with request.getfixturevalue("postgres").schema() as config:
        engine = lambda: postgres_views(conninfo(config.url.get_secret_value()), f"{config.db_schema}_views")  # noqa: E731
        yield another
        for each in made:
            each.close()


def rows(views: Views) -> list[dict[str, object]]:
    with views.reading() as db:
        return [row for _, row in views.view("words").dump(db)]


def test_each_program_folds_and_reads_its_own_rows(opened):
    old = opened(Old)
    old.catch_up(read, upto=5)
    new = opened(New)
    assert (old.look(), new.position) == (5, 0)
    new.catch_up(read)
    assert (new.position, rows(new)) == (9, [{"count": 9}])
    assert (old.look(), len(rows(old))) == (5, 5), "what the old program shows is what it folded"
    old.catch_up(read)
    assert [row["word"] for row in rows(old)] == [f"w{n}" for n in range(1, 10)]
    assert rows(new) == [{"count": 9}]


def test_an_old_program_that_starts_beside_a_new_one_goes_on_where_it_was(opened):
    opened(Old).catch_up(read, upto=5)
    new = opened(New)
    new.catch_up(read)
    again = opened(Old)
    assert (again.position, len(rows(again))) == (5, 5)
    again.catch_up(read)
    assert (len(rows(again)), rows(new), rows(opened(New))) == (9, [{"count": 9}], [{"count": 9}])


def test_a_rebuild_of_one_takes_nothing_from_the_other(opened):
    old, new = opened(Old), opened(New)
    for views in (old, new):
        views.catch_up(read)
    for _ in range(3):
        new.rebuild(read)
        old.rebuild(read)
    assert (len(rows(old)), rows(new)) == (9, [{"count": 9}])
    assert (len(rows(opened(Old))), rows(opened(New))) == (9, [{"count": 9}])


def test_of_older_ones_that_stays_which_is_furthest(opened):
    old, new = opened(Old), opened(New)
    old.catch_up(read, upto=3)
    new.catch_up(read)
    newest = opened(Newest)
    newest.catch_up(read)
    assert rows(new) == rows(newest) == [{"count": 9}]
    with pytest.raises(Unreachable) as gone:
        old.look()
    assert gone.value.code == "views.replaced"


def test_the_views_stop_at_an_event_that_is_not_known_and_go_on_beyond_it_where_another_did(opened):
    def not_the_sixth(after: int, limit: int) -> list[Recorded]:
        found = [r for r in read(after, limit) if r.position < 6 or after >= 6]
        if not found and after < 9:
            raise UnknownEvent(topic="a.b.v1", stream="command-1", version=6, recorded_at=NOW, position=6)
        return found

    views, other = opened(Old), opened(Old)
    for _ in range(2):
        with pytest.raises(UnknownEvent):
            views.catch_up(not_the_sixth)
        assert (views.position, len(rows(views))) == (5, 5)
    assert views.catch_up(not_the_sixth, upto=5) == 5
    with pytest.raises(UnknownEvent):
        views.rebuild(not_the_sixth)
    assert (len(rows(views)), views.look()) == (5, 5)
    other.catch_up(read, upto=7)
    assert views.catch_up(not_the_sixth) == 9
    assert len(rows(views)) == 9

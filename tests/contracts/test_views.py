"""The views are what the log makes of them: however it is folded, whenever it is folded again, by whomever."""

from __future__ import annotations

import itertools
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import func, select, update
from views_rig import lived

from domain.events import known_topics
from infra.postgres import conninfo
from projections import follower, projection
from projections.follower import VIEWS, Views, wipe
from projections.postgres import postgres_views
from projections.sqlite import sqlite_views
from projections.tree import Tree


@pytest.fixture
def views():
    made = Views(sqlite_views(None))
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def engine(request, tmp_path):
    """Opens an engine on one database, which is empty at first."""
    if request.param == "sqlite":
        yield lambda: sqlite_views(tmp_path / "views.sqlite")
        return
    with request.getfixturevalue("postgres").schema() as config:
        yield lambda: postgres_views(conninfo(config.url.get_secret_value()), f"{config.db_schema}_views")


@pytest.fixture
def opened(engine):
    """Opens the views of one database, as often as wanted: each as a process of its own would."""
    made: list[Views] = []

    def another(classes=VIEWS) -> Views:
        made.append(Views(engine(), classes))
        return made[-1]

    yield another
    for each in made:
        each.close()


def rows(views: Views) -> dict[str, int]:
    with views.reading() as db:
        return {
            name: db.execute(select(func.count()).select_from(table)).scalar_one()
            for view in views.names()
            for name, table in views.view(view).tables.items()
        }


def test_the_log_of_this_suite_has_something_for_every_table(views):
    views.catch_up(lived().read)

    few = {name: count for name, count in rows(views).items() if count < 2}
    assert few == {"directory_revision": 1}  # which never has another
    assert {type(r.event) for r in lived().events} == set(known_topics().values())


@pytest.mark.parametrize("batch", [1, 7, 500])
def test_the_size_of_batches_makes_no_difference(views, monkeypatch, batch):
    monkeypatch.setattr(follower, "BATCH", batch)
    seen: list[int] = []
    views.catch_up(lived().read, on_batch=seen.append)

    assert views.fingerprints() == lived().fingerprints
    assert (seen[-1], len(seen), views.position) == (lived().end, -(-lived().end // batch), lived().end)


@settings(max_examples=5, deadline=None)
@given(st.sets(st.integers(1, lived().end), max_size=12))
def test_where_the_log_is_cut_makes_no_difference(cuts):
    views = Views(sqlite_views(None))
    for cut in sorted(cuts):
        assert views.catch_up(lived().read, upto=cut) == cut
    views.catch_up(lived().read)

    assert views.fingerprints() == lived().fingerprints
    views.close()


@pytest.mark.parametrize("upto", [0, 1, 60, 200])
def test_folding_up_to_a_position_is_as_if_the_log_ended_there(views, opened, upto):
    prefix = [r for r in lived().events if r.position <= upto]
    other = opened()
    other.catch_up(lambda after, limit: [r for r in prefix if r.position > after][:limit])

    assert views.catch_up(lived().read, upto=upto) == upto == views.position
    assert views.fingerprints() == other.fingerprints()
    assert views.fingerprints() != lived().fingerprints


def test_a_fingerprint_notices_one_changed_value(views):
    views.catch_up(lived().read)
    with views.engine.begin() as db:
        db.execute(update(views.tree.relays).where(views.tree.relays.c.node_id == "milan").values(told=99))
    changed = views.fingerprints()

    assert {name for name, value in changed.items() if value != lived().fingerprints[name]} == {"tree"}


def test_a_dump_reads_a_page_at_a_time_and_leaves_the_connection_to_others_meanwhile(opened, monkeypatch):
    """A server ends who asks nothing of it for a minute, and millions of rows take longer than that to go through."""
    views = opened()
    views.catch_up(lived().read)
    with views.reading() as db:
        tree, plans = list(views.tree.dump(db)), list(views.plans.dump(db))
        monkeypatch.setattr(projection, "PAGE", 3)
        one, other, found = views.tree.dump(db), views.plans.dump(db), ([], [])
        while len(found[0]) + len(found[1]) < len(tree) + len(plans):
            for rows_, into in ((one, found[0]), (other, found[1])):
                into.extend(itertools.islice(rows_, 2))
            assert views.directory.hierarchy(db).nodes
            if len(found[0]) == len(found[1]) == 2 and views.engine.dialect.name == "postgresql":
                assert db.exec_driver_sql("SELECT count(*) FROM pg_cursors").scalar() == 2
        assert found == (tree, plans)


def test_dropping_everything_and_folding_again_gives_the_same(opened):
    first = opened()
    first.catch_up(lived().read)
    first.close()
    wipe(first.engine)
    again = opened()
    assert again.position == 0
    again.catch_up(lived().read)

    assert again.fingerprints() == lived().fingerprints


@pytest.mark.parametrize("names", [None, ["tree"], ["deliveries", "plans"]])
def test_rebuilding_gives_the_same_and_is_read_from_then_on(opened, names):
    views = opened()
    views.catch_up(lived().read)
    generations = {name: views.view(name).generation for name in views.names()}
    with views.engine.begin() as db:  # damage that the rebuild mends
        db.execute(update(views.tree.relays).values(told=99))
        db.execute(update(views.deliveries.deliveries).values(outcome="lost"))
    views.rebuild(lived().read, names)
    views.rebuild(lived().read, names)

    rebuilt = names or views.names()
    assert {name: views.fingerprints()[name] for name in rebuilt} == {
        name: lived().fingerprints[name] for name in rebuilt
    }
    assert {name: views.view(name).generation - generations[name] for name in views.names()} == {
        name: 2 * (name in rebuilt) for name in views.names()
    }
    assert opened().fingerprints() == views.fingerprints()


def test_rebuilding_while_the_log_grows_misses_nothing(opened):
    views = opened()
    known = 100  # the log grows by this much with every look at it
    lock = threading.Lock()

    def growing(after: int, limit: int):
        nonlocal known
        with lock:
            known = min(known + 30, lived().end)
            return [r for r in lived().events if after < r.position <= known][:limit]

    views.catch_up(growing, upto=100)
    faults: list[BaseException] = []
    done = threading.Event()

    def follow() -> None:
        try:
            while not done.is_set():
                views.catch_up(growing)
        except BaseException as fault:
            faults.append(fault)

    beside = threading.Thread(target=follow)
    beside.start()
    views.rebuild(growing)
    done.set()
    beside.join()
    views.catch_up(lived().read)

    assert (faults, views.fingerprints()) == ([], lived().fingerprints)


def test_two_processes_on_one_file_fold_every_event_once(opened):
    one, two = opened(), opened()
    for n, upto in enumerate(range(0, lived().end, 37)):
        (one, two)[n % 2].catch_up(lived().read, upto=upto)
    two.catch_up(lived().read)
    one.catch_up(lived().read)

    assert [v.position for v in (one, two)] == [lived().end] * 2
    assert one.fingerprints() == two.fingerprints() == lived().fingerprints


def test_two_processes_that_fold_at_the_same_time_fold_every_event_once(opened, monkeypatch):
    monkeypatch.setattr(follower, "BATCH", 5)
    both = [opened(), opened()]
    faults: list[BaseException] = []

    def fold(views: Views) -> None:
        try:
            views.catch_up(lived().read)
        except BaseException as fault:
            faults.append(fault)

    threads = [threading.Thread(target=fold, args=(views,)) for views in both]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert (faults, [v.fingerprints() for v in both]) == ([], [lived().fingerprints] * 2)


def test_a_rebuild_by_another_process_takes_nothing_away_from_who_is_reading(opened):
    one, two = opened(), opened()
    one.catch_up(lived().read)
    two.catch_up(lived().read)
    with one.reading() as db:
        nodes = one.directory.hierarchy(db).nodes
        warnings = [row["warning_id"] for row in one.warnings.page(db, before=None, limit=99)]
        trees = [one.tree.rows(db, warning_id) for warning_id in warnings]
    one.rebuild(lived().read)

    with two.reading() as db:
        assert two.directory.hierarchy(db).nodes == nodes
        assert [two.tree.rows(db, warning_id) for warning_id in warnings] == trees
    assert two.fingerprints() == lived().fingerprints
    two.catch_up(lived().read)
    assert two.view("tree").generation == one.view("tree").generation
    assert two.fingerprints() == lived().fingerprints


def test_who_only_reads_looks_for_what_others_did(opened):
    writer, reader = opened(), opened()
    writer.catch_up(lived().read, upto=150)
    assert (reader.position, reader.look(), reader.position) == (0, 150, 150)
    writer.rebuild(lived().read)
    writer.rebuild(lived().read)

    assert reader.look() == lived().end
    assert {n: reader.view(n).generation for n in reader.names()} == {
        n: writer.view(n).generation for n in writer.names()
    }
    assert reader.fingerprints() == lived().fingerprints


def test_what_the_tree_counts_is_counted_in_whole_numbers(opened):
    views = opened()
    views.catch_up(lived().read)
    with views.reading() as db:
        totals = [views.tree.totals(db, row["warning_id"]) for row in views.warnings.page(db, before=None, limit=99)]

    assert any(sum(each.values()) for each in totals)
    assert {type(count) for each in totals for count in each.values()} == {int}


def test_views_that_are_opened_again_go_on_where_they_were(opened):
    opened().catch_up(lived().read, upto=150)
    again = opened()
    asked: list[int] = []

    def read(after: int, limit: int):
        asked.append(after)
        return lived().read(after, limit)

    assert again.position == 150
    again.catch_up(read)
    assert (asked[0], again.fingerprints()) == (150, lived().fingerprints)


def test_a_view_whose_code_changed_starts_afresh_and_the_others_stay(opened):
    class NewTree(Tree):
        code_version = Tree.code_version + 1

    before = opened()
    before.catch_up(lived().read)
    after = opened([NewTree if cls is Tree else cls for cls in VIEWS])

    assert (after.position, after.view("tree").generation) == (0, before.view("tree").generation + 1)
    assert {n for n in after.names() if after.fingerprints()[n] != lived().fingerprints[n]} == {"tree"}
    after.catch_up(lived().read)
    assert (after.position, after.fingerprints()) == (lived().end, lived().fingerprints)


def test_a_batch_that_fails_leaves_everything_as_it_was(opened, monkeypatch):
    views = opened()
    views.catch_up(lived().read, upto=100)
    before = views.fingerprints()

    def broken(self, events, db):
        raise RuntimeError("a fault in one view")

    with monkeypatch.context() as patch, pytest.raises(RuntimeError, match="a fault in one view"):
        patch.setattr(Tree, "apply", broken)
        views.catch_up(lived().read)
    assert (views.position, views.fingerprints()) == (100, before)
    views.catch_up(lived().read)
    assert views.fingerprints() == lived().fingerprints

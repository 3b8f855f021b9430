"""Feeds: what is news is drafted once; re-stamps, replays and levels that swing back are not; two people let it out."""

from __future__ import annotations

from typing import Any

import pytest
from given import code_of
from hypothesis import given
from hypothesis import strategies as st

from domain import feeds
from domain.errors import InvalidInput, Refused
from domain.events import Event, fold
from domain.feeds import Feed, FeedItemsTaken, FeedRemoved, FeedState, Form, Found, Taken, Verdict
from domain.rulepacks import Level
from domain.warnings import Status


def feed(**changes: Any) -> Feed:
    fields: dict[str, Any] = {
        "feed_id": "f", "url": "https://feed.example/", "form": Form.JSON, "node_id": "office", "title": "F",
        "baseline": False,
    }  # fmt: skip
    return Feed(**{**fields, **changes})


def state(*events: Event, **changes: Any) -> FeedState:
    made = fold(feeds.evolve, [*feeds.add(None, feed(**changes), by="ann"), *events])
    assert made is not None
    return made


class Source:
    """A feed, with the warnings that came from it: `read` takes a reading in and gives its verdicts."""

    def __init__(self, **changes: Any) -> None:
        self.state = state(**changes)
        self.warnings: dict[str, tuple[Status, bool]] = {}
        self.said: dict[str, str] = {}  # the words of each warning

    def read(self, *items: tuple[str, str] | Found) -> list[tuple[Verdict, str]]:
        found = [i if isinstance(i, Found) else Found(key=i[0], fingerprint=i[1]) for i in items]
        taken = feeds.judge(self.state, found, self.warnings.get)
        for item in taken:
            if item.withdraws:
                self.warnings[item.withdraws] = (Status.CANCELLED, False)
            if item.verdict in (Verdict.DRAFTED, Verdict.UPDATE, Verdict.REVISED):
                if item.verdict is Verdict.UPDATE:
                    assert self.warnings[feeds.parent_of(self.state, item)][0] is Status.RELEASED
                self.warnings[item.warning_id] = (Status.DRAFT, False)
                self.said[item.warning_id] = item.fingerprint
        for event in feeds.take(self.state, taken):
            self.state = feeds.evolve(self.state, event) or self.state
        return [(item.verdict, item.warning_id) for item in taken]

    def set(self, warning_id: str, status: Status, touched: bool = False) -> None:
        self.warnings[warning_id] = (status, touched)


def test_a_new_item_is_drafted_and_the_same_again_is_nothing():
    source = Source()
    ((verdict, warning_id),) = source.read(("it", "red"))

    assert verdict is Verdict.DRAFTED
    assert source.read(("it", "red")) == []
    assert source.read() == []
    source.set(warning_id, Status.RELEASED)
    assert source.read(("it", "red")) == []


def test_what_stands_there_at_first_is_noted_but_for_cap():
    noted = Source(baseline=None)
    assert noted.read(("it", "a"), ("es", "b")) == [(Verdict.NOTED, ""), (Verdict.NOTED, "")]
    assert [v for v, _ in noted.read(("it", "a"), ("es", "c"))] == [Verdict.DRAFTED]

    cap = Source(form=Form.CAP, baseline=None)
    assert [v for v, _ in cap.read(("it", "a"))] == [Verdict.DRAFTED]


def test_an_empty_first_reading_is_a_baseline_too():
    source = Source(baseline=None)
    assert source.read() == []
    assert [v for v, _ in source.read(("it", "a"))] == [Verdict.DRAFTED]


def test_new_words_go_into_the_draft_that_nobody_has_touched():
    source = Source()
    ((_, warning_id),) = source.read(("it", "orange"))
    assert source.read(("it", "red")) == [(Verdict.REVISED, warning_id)]
    assert source.read(("it", "orange")) == [(Verdict.REVISED, warning_id)]


def test_a_draft_that_a_person_works_on_is_left_alone():
    source = Source()
    ((_, first),) = source.read(("it", "orange"))
    source.set(first, Status.DRAFT, touched=True)
    ((verdict, second),) = source.read(("it", "red"))
    assert verdict is Verdict.DRAFTED
    assert second != first
    assert source.warnings[first] == (Status.DRAFT, True)


def test_a_level_that_swings_back_after_release_is_no_new_warning_and_its_draft_is_withdrawn():
    source = Source()
    ((_, first),) = source.read(("it", "orange"))
    source.set(first, Status.RELEASED)
    ((verdict, second),) = source.read(("it", "red"))
    assert verdict is Verdict.UPDATE

    assert source.read(("it", "orange")) == [(Verdict.RETURNED, first)]
    assert source.warnings[second][0] is Status.CANCELLED
    ((verdict, third),) = source.read(("it", "red"))
    assert (verdict, third != second) == (Verdict.UPDATE, True)


def test_what_is_still_said_after_its_warning_is_over_is_news_again():
    source = Source()
    ((_, first),) = source.read(("it", "red"))
    source.set(first, Status.EXPIRED)
    ((verdict, second),) = source.read(("it", "red"))
    assert verdict is Verdict.DRAFTED
    assert second != first


def test_the_same_words_under_a_new_name_are_the_same_item():
    source = Source()
    ((_, first),) = source.read(("one", "red"))
    source.set(first, Status.RELEASED)
    assert source.read(("two", "red")) == []


def test_a_message_that_follows_another_is_an_update_of_its_warning():
    source = Source(form=Form.CAP)
    source.read(Found(key="a", fingerprint="1", warning_id="w-a"))
    source.set("w-a", Status.RELEASED)

    follows = Found(key="b", fingerprint="2", warning_id="w-b", references=("w-a",))
    assert source.read(follows) == [(Verdict.UPDATE, "w-b")]
    assert source.read(Found(key="b", fingerprint="2", warning_id="w-c", references=("w-b",))) == []  # a re-stamp


def test_a_message_that_a_person_had_imported_is_not_drafted_again():
    source = Source(form=Form.CAP)
    source.set("w-a", Status.RELEASED, touched=True)
    assert source.read(Found(key="a", fingerprint="1", warning_id="w-a")) == [(Verdict.RETURNED, "w-a")]


def test_what_its_source_takes_back_is_for_a_person_to_decide_unless_it_is_but_a_draft():
    source = Source(form=Form.CAP)
    source.read(Found(key="a", fingerprint="1", warning_id="w-a"))
    back = Found(key="c", fingerprint="9", ended=True, references=("w-a",))
    assert source.read(back) == [(Verdict.CANCELLED, "w-a")]
    assert source.warnings["w-a"][0] is Status.CANCELLED

    other = Source(form=Form.CAP)
    other.read(Found(key="a", fingerprint="1", warning_id="w-a"))
    other.set("w-a", Status.RELEASED)
    assert other.read(back) == [(Verdict.CANCELLED, "w-a")]
    assert other.warnings["w-a"][0] is Status.RELEASED


def test_an_item_that_cannot_be_drafted_says_why_once():
    source = Source()
    bad = Found(key="x", fingerprint="1", why="empty headline")
    assert source.read(bad) == [(Verdict.UNUSABLE, "")]
    assert source.read(bad) == []


def test_an_item_named_twice_counts_once():
    source = Source()
    assert len(source.read(("it", "a"), ("it", "b"))) == 1


def test_words_that_a_person_works_on_are_not_drafted_a_second_time():
    source = Source()
    ((_, first),) = source.read(("a", "1"))
    source.set(first, Status.DRAFT, touched=True)
    ((_, second),) = source.read(("a", "2"))
    assert source.read(("a", "1")) == [(Verdict.RETURNED, first)]
    assert source.warnings[second][0] is Status.CANCELLED


def test_words_that_were_revised_before_they_went_out_are_news_when_the_feed_says_them_again():
    source = Source()
    ((_, first),) = source.read(("a", "1"))
    assert source.read(("a", "2")) == [(Verdict.REVISED, first)]
    source.set(first, Status.RELEASED)
    ((verdict, again),) = source.read(("a", "1"))
    assert (verdict, source.said[again]) == (Verdict.UPDATE, "1")


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("read"), st.lists(st.tuples(st.sampled_from("ab"), st.sampled_from("123")), max_size=3)),
        st.tuples(st.sampled_from([Status.RELEASED, Status.EXPIRED, Status.CANCELLED, "touch"]), st.integers(0, 5)),
    ),
    max_size=20,
)


@given(STEPS)
def test_however_it_swings_no_two_warnings_that_stand_say_the_same_of_an_item_and_a_reading_twice_is_once(steps):
    source = Source()
    for what, detail in steps:
        if what == "read":
            source.read(*[(key, key + said) for key, said in detail])
            assert source.read(*[(key, key + said) for key, said in detail]) == []
            drafts = [
                source.said[w] for w, (s, touched) in source.warnings.items() if s is Status.DRAFT and not touched
            ]
            assert len({said[0] for said in drafts}) == len(drafts), "one untouched draft an item"
            out = [source.said[w] for w, (s, _) in source.warnings.items() if s is Status.RELEASED]
            assert not set(drafts) & set(out), "what is out is not drafted again"
        elif source.warnings:
            warning_id = list(source.warnings)[detail % len(source.warnings)]
            status, touched = source.warnings[warning_id]
            if what == "touch" and status is Status.DRAFT:
                source.set(warning_id, status, touched=True)
            elif what is Status.RELEASED and status is Status.DRAFT:
                source.set(warning_id, Status.RELEASED, touched)
            elif what in (Status.EXPIRED, Status.CANCELLED):
                source.set(warning_id, what, touched)


# Adding, removing, letting out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "code"),
    [({"url": "ftp://x.example/"}, "feed.url"), ({"every_s": 5}, "feed.every"), ({"hours": 0}, "feed.hours")],
)
def test_a_feed_with_impossible_facts_is_not_added(changes, code):
    assert code_of(InvalidInput, lambda: feeds.add(None, feed(**changes), by="ann")) == code


def test_the_same_feed_again_changes_nothing_and_another_under_its_id_is_refused():
    assert feeds.add(state(), feed(), by="ben") == []
    assert code_of(Refused, lambda: feeds.add(state(), feed(title="other"), by="ben")) == "feed.exists"
    assert feeds.add(state(FeedRemoved(removed_by="ann")), feed(title="other"), by="ben")


def test_it_takes_a_second_person_to_let_a_feed_release_and_anyone_may_end_it():
    assert code_of(Refused, lambda: feeds.allow_release(state(), levels=[Level.RED], by="ann")) == "feed.second_person"
    allowed = feeds.allow_release(state(), levels=[Level.RED], by="ben")
    assert state(*allowed).release_levels == {Level.RED}
    assert feeds.allow_release(state(*allowed), levels=[Level.RED], by="ben") == []
    ended = feeds.allow_release(state(*allowed), levels=[], by="ann")
    assert state(*allowed, *ended).release_levels == frozenset()


def test_a_feed_that_is_gone_releases_nothing_and_is_unknown():
    allowed = feeds.allow_release(state(), levels=[Level.RED], by="ben")
    gone = state(*allowed, FeedRemoved(removed_by="ann"))
    assert gone.release_levels == frozenset()
    assert feeds.remove(state(), by="ben") == [FeedRemoved(removed_by="ben")]
    assert code_of(Refused, lambda: feeds.remove(gone, by="ben")) == "feed.unknown"


def test_the_versions_of_an_item_that_are_remembered_are_bounded():
    items = [
        FeedItemsTaken(feed_id="f", items=(Taken(key="k", fingerprint=str(n), verdict=Verdict.NOTED),))
        for n in range(50)
    ]
    assert len(state(*items).items["k"].versions) == feeds.REMEMBERED

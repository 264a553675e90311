"""Which watch messages a mirror believes, and what it concludes from them."""

from __future__ import annotations

from collections import Counter

import pytest

from store.fragments import Assembler
from store.ledger import Anomaly, Change, Ledger, Listing, Version
from store.values import Event, Header, KeyValue, WatchResponse


def header(revision: int) -> Header:
    return Header(cluster_id=1, member_id=1, revision=revision, raft_term=1)


def kv(key: str, revision: int, *, created: int | None = None) -> KeyValue:
    return KeyValue(key, b"{}", created or revision, revision, version=1)


def put(key: str, revision: int, *, created: int | None = None) -> Event:
    return Event(kv(key, revision, created=created))


def deletion(key: str, revision: int) -> Event:
    return Event(KeyValue(key, b"", 0, revision, 0), is_delete=True)


def response(*events: Event, revision: int | None = None) -> WatchResponse:
    return WatchResponse(header(revision or events[-1].kv.mod_revision), events)


def ledger_at(revision: int, *kvs: KeyValue) -> Ledger:
    ledger = Ledger()
    ledger.fold_listing(Listing(header(revision), kvs))
    return ledger


def test_a_new_ledger_needs_a_listing_and_then_is_exact_at_its_revision() -> None:
    ledger = Ledger()
    assert ledger.needs_listing

    batch = ledger.fold_listing(Listing(header(7), (kv("a", 3), kv("b", 6, created=4))))

    assert batch.changes == (Change("a", kv("a", 3)), Change("b", kv("b", 6, created=4)))
    assert (batch.revision, batch.is_reset) == (7, True)
    assert ledger.versions == {"a": Version(3, 3), "b": Version(4, 6)}
    assert not ledger.needs_listing


def test_events_are_delivered_in_order_as_one_step_to_the_last_of_them() -> None:
    ledger = ledger_at(7, kv("a", 3))

    batch = ledger.fold(
        response(put("a", 8, created=3), put("b", 8), deletion("a", 9), revision=50)
    )

    assert batch is not None
    assert [change.key for change in batch.changes] == ["a", "b", "a"]
    assert batch.changes[-1] == Change("a", None)
    assert (batch.revision, batch.is_reset) == (9, False)
    assert ledger.revision == 9, "the header may be ahead of what this watch was sent"
    assert ledger.versions == {"b": Version(8, 8)}
    assert not ledger.anomalies


def test_a_progress_notification_moves_the_position_and_changes_nothing() -> None:
    ledger = ledger_at(7, kv("a", 3))

    assert ledger.fold(WatchResponse(header(12))) is None
    assert ledger.revision == 12
    assert ledger.fold(WatchResponse(header(9))) is None
    assert ledger.revision == 12


@pytest.mark.parametrize(
    "repeated",
    [put("a", 8), put("b", 9, created=2), put("b", 5, created=2), deletion("c", 10)],
    ids=["same put", "same update", "older update", "same deletion"],
)
def test_what_is_known_already_is_dropped_and_counted(repeated: Event) -> None:
    ledger = ledger_at(7, kv("b", 5, created=2), kv("c", 6))
    ledger.fold(response(put("a", 8), put("b", 9, created=2), deletion("c", 10)))
    versions = dict(ledger.versions)

    assert ledger.fold(response(repeated)) is None

    assert ledger.anomalies == Counter({Anomaly.DUPLICATE_EVENT: 1})
    assert (ledger.versions, ledger.revision) == (versions, 10)
    assert not ledger.needs_listing


def test_a_repetition_within_one_response_does_not_bring_a_key_back() -> None:
    ledger = ledger_at(7)

    batch = ledger.fold(response(put("a", 8), deletion("a", 9), put("a", 8)))

    assert batch is not None
    assert batch.changes == (Change("a", kv("a", 8)), Change("a", None))
    assert ledger.versions == {}
    assert ledger.revision == 9


@pytest.mark.parametrize(
    ("late", "anomaly"),
    [
        (put("new", 6), Anomaly.OLD_EVENT),
        (put("b", 6, created=2), Anomaly.OLD_EVENT),
        (deletion("b", 6), Anomaly.OLD_EVENT),
        (put("new", 9, created=6), Anomaly.GAP),
        (put("b", 9), Anomaly.GAP),
        (put("b", 9, created=4), Anomaly.GAP),
        (deletion("new", 9), Anomaly.GAP),
    ],
    ids=[
        "late creation",
        "late update",
        "late deletion",
        "update of an unknown key",
        "creation of a known key",
        "update of another incarnation",
        "deletion of an unknown key",
    ],
)
def test_what_shows_that_something_was_kept_from_us_asks_for_a_listing(
    late: Event, anomaly: Anomaly
) -> None:
    ledger = ledger_at(7, kv("b", 5, created=2))

    ledger.fold(response(late))

    assert ledger.anomalies == Counter({anomaly: 1})
    assert ledger.needs_listing


def test_a_later_listing_delivers_the_difference_deletes_first() -> None:
    ledger = ledger_at(7, kv("gone", 3), kv("same", 4), kv("changed", 5), kv("reborn", 6))
    listing = Listing(
        header(20), (kv("changed", 12, created=5), kv("new", 15), kv("reborn", 14), kv("same", 4))
    )

    batch = ledger.fold_listing(listing)

    assert [change.key for change in batch.changes] == ["gone", "changed", "new", "reborn"]
    assert batch.changes[0] == Change("gone", None)
    assert ledger.versions["reborn"] == Version(14, 14)
    assert set(ledger.versions) == {"same", "changed", "reborn", "new"}


def test_fragments_are_one_response_once_the_last_is_there() -> None:
    anomalies: Counter[Anomaly] = Counter()
    assembler = Assembler(anomalies)
    events = (put("a", 8), put("b", 8), put("c", 8))

    parts = [WatchResponse(header(8), (event,), is_fragment=True) for event in events[:2]]
    assert [assembler.add(part) for part in parts] == [None, None]
    assert assembler.add(response(events[2])) == response(*events)
    assert assembler.add(response(put("d", 9))) == response(put("d", 9))
    assert anomalies == Counter({Anomaly.FRAGMENTS_REASSEMBLED: 1})

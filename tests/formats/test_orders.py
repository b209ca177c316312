"""Orders and receipts: what was signed is what is read; anything else is refused."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sluice.errors import TamperedError, TruncatedError
from sluice.formats.orders import order_bytes, parse_order, parse_receipt, receipt_bytes
from sluice.model.action import Script, ScriptType, StartProcess, StopProcess
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.order import Act, ActionReport, Failure, Order, Outcome, Receipt
from sluice.model.revision import RevisionNumber

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_-]{0,20}", fullmatch=True)
TIMES = st.datetimes(timezones=st.just(UTC)).filter(lambda time: 1970 <= time.year < 9999)
REVISIONS = st.builds(RevisionNumber, st.integers(1, 10**9 - 1), st.integers(1, 10**9 - 1))
TEXTS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=50)
SCRIPTS = st.builds(Script, st.sampled_from(ScriptType), TEXTS, run=TEXTS.filter(bool)) | st.builds(
    Script, st.sampled_from(ScriptType), TEXTS, path=TEXTS.filter(bool)
)
STARTS = st.builds(StartProcess, TEXTS.map("/".__add__), st.lists(TEXTS, max_size=3).map(tuple), st.booleans(), TEXTS)
STOPS = st.builds(StopProcess, NAMES, st.booleans(), st.booleans(), TEXTS)
ACTIONS = st.lists(SCRIPTS | STARTS | STOPS, max_size=3).map(tuple)
WAITS = st.integers(1, 3600).map(lambda seconds: timedelta(seconds=seconds))
ORDERS = st.builds(
    Order,
    distributor=NAMES,
    subscriber=NAMES,
    sequence=st.integers(1, 2**62),
    issued=TIMES,
    expires=TIMES,
    distribution=NAMES,
    revision=REVISIONS,
    destinations=st.lists(TEXTS, max_size=3).map(tuple),
    pre_actions=ACTIONS,
    post_actions=ACTIONS,
    locked=st.just(FAILS_AT_ONCE) | st.builds(Locked, st.integers(1, 100), WAITS),
    min_free=st.integers(0, 2**50),
    verify=st.none() | st.booleans(),
    force=st.booleans(),
    allow_removals=st.booleans(),
)
RELEASES = st.builds(replace, ORDERS, destinations=st.just(()), pre_actions=st.just(()), post_actions=st.just(()), act=st.just(Act.RELEASE))
REPORTS = st.builds(ActionReport, st.just("pre"), TEXTS, st.floats(0, 600), st.none() | st.integers(-64, 255), TEXTS)
RECEIPTS = st.builds(
    Receipt,
    distributor=NAMES,
    subscriber=NAMES,
    sequence=st.integers(1, 2**62),
    distribution=NAMES,
    revision=REVISIONS,
    outcome=st.sampled_from(Outcome),
    started=TIMES,
    finished=TIMES,
    files_written=st.integers(0, 10**9),
    files_unchanged=st.integers(0, 10**9),
    bytes_written=st.integers(0, 2**60),
    read_back=st.just("0" * 64),
    actions=st.lists(st.builds(ActionReport, st.just("pre"), TEXTS, st.floats(0, 600), st.none() | st.integers(-64, 255), TEXTS)).map(
        tuple
    ),
    failure=st.none() | st.builds(Failure, st.just("ReadBackError"), TEXTS, TEXTS, st.booleans()),
    files_read=st.none() | st.integers(0, 10**9),
    paths_removed=st.integers(0, 10**6),
    paths_adjusted=st.integers(0, 10**6),
    took_over=st.just("") | NAMES,
)


@given(ORDERS | RELEASES)
def test_an_order_is_read_as_it_was_written(order: Order) -> None:
    assert parse_order(order_bytes(order)) == order


@given(RECEIPTS)
def test_a_receipt_is_read_as_it_was_written(receipt: Receipt) -> None:
    assert parse_receipt(receipt_bytes(receipt)) == receipt


def order_json() -> dict[str, object]:
    order = Order("hq", "helsinki", 1, *[datetime(2026, 1, 1, tzinfo=UTC)] * 2, "zone", RevisionNumber(1, 1), ("/opt",), (), ())
    decoded = json.loads(order_bytes(order))
    assert isinstance(decoded, dict)
    return decoded


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("version", 2),
        ("distributor", "../hq"),
        ("subscriber", ""),
        ("sequence", 0),
        ("sequence", "1"),
        ("issued", "yesterday"),
        ("expires", "2026-01-01"),
        ("issued", "0001-01-01T00:00:00.000000Z"),
        ("expires", "9999-12-31T23:59:59.999999Z"),
        ("revision", "1"),
        ("revision", "01.1"),
        ("destinations", ["/a\0b"]),
        ("destinations", [1]),
        ("destinations", "/opt"),
        ("pre_actions", [{"script": {"type": "cobol", "run": "x", "path": "", "undo": ""}}]),
        ("pre_actions", [{"script": {"type": "shell", "run": "x", "path": "/y", "undo": ""}}]),
        ("pre_actions", [{"start_process": {}}]),
        ("pre_actions", [{"start_process": {"path": "bin/x", "arguments": [], "wait": False, "undo": "none"}}]),
        ("pre_actions", [{"start_process": {"path": "/bin/x", "arguments": [1], "wait": False, "undo": "none"}}]),
        ("pre_actions", [{"stop_process": {"name": "a/b", "wait": False, "kill": False, "undo": "none"}}]),
        ("pre_actions", [{"stop_process": {"name": "a", "wait": 0, "kill": False, "undo": "none"}}]),
        ("post_actions", [{}] * 101),
        ("locked", {"retries": 0, "wait": 1}),
        ("locked", {"retries": 1, "wait": 3601}),
        ("min_free", -1),
        ("verify", 1),
        ("force", "yes"),
        ("allow_removals", 1),
        ("surprise", 1),
    ],
)
def test_an_order_that_breaks_a_rule_is_refused(key: str, value: object) -> None:
    with pytest.raises(TamperedError):
        parse_order(json.dumps({**order_json(), key: value}).encode())


@pytest.mark.parametrize("key", sorted(order_json()))
def test_an_order_that_lacks_a_field_is_refused(key: str) -> None:
    fields = order_json()
    del fields[key]
    with pytest.raises(TamperedError, match="is missing"):
        parse_order(json.dumps(fields).encode())


def test_a_cut_order_is_truncated() -> None:
    with pytest.raises(TruncatedError):
        parse_order(json.dumps(order_json()).encode()[:-20])


def test_an_order_to_extract_names_no_act_so_that_older_agents_read_it() -> None:
    order = Order("hq", "oslo", 1, *[datetime(2026, 1, 1, tzinfo=UTC)] * 2, "zone", RevisionNumber(1, 1), (), (), ())
    assert b'"act"' not in order_bytes(order)
    assert b'"act":"release"' in order_bytes(replace(order, act=Act.RELEASE))


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        ({"act": "adopt"}, "unknown act 'adopt'"),
        ({"act": 1}, "act isn't a text"),
        ({"act": "release", "destinations": ["/opt"]}, "an order to release has destinations or actions"),
        (
            {"act": "release", "post_actions": [{"script": {"type": "shell", "run": "x", "path": "", "undo": ""}}]},
            "an order to release has",
        ),
    ],
)
def test_an_act_that_is_unknown_or_has_what_it_may_not_have_is_refused(change: dict[str, object], problem: str) -> None:
    order = Order("hq", "oslo", 1, *[datetime(2026, 1, 1, tzinfo=UTC)] * 2, "zone", RevisionNumber(1, 1), (), (), ())
    data = json.dumps(json.loads(order_bytes(order)) | change, sort_keys=True, separators=(",", ":")).encode()
    with pytest.raises(TamperedError, match=problem):
        parse_order(data)


def test_an_order_and_a_receipt_for_an_older_peer_have_no_key_that_it_doesnt_know() -> None:
    assert {"verify", "force", "allow_removals"}.isdisjoint(order_json())
    receipt = Receipt(
        "hq", "oslo", 1, "zone", RevisionNumber(1, 1), Outcome.INSTALLED, *[datetime(2026, 1, 1, tzinfo=UTC)] * 2, 1, 0, 9, ""
    )
    assert "files_read" not in json.loads(receipt_bytes(receipt))


@pytest.mark.parametrize(
    ("outcome", "written", "unchanged", "read", "is_read_back"),
    [
        (Outcome.ALREADY_INSTALLED, 0, 3, 3, True),
        (Outcome.INSTALLED, 1, 2, 3, True),
        (Outcome.ALREADY_INSTALLED, 0, 3, 2, False),  # one was known by its stat
        (Outcome.ALREADY_INSTALLED, 0, 0, 0, False),  # answered from the status file: nothing was looked at
        (Outcome.ALREADY_INSTALLED, 0, 3, None, False),  # an older agent
        (Outcome.FAILED, 0, 3, 3, False),
    ],
)
def test_verified_is_only_what_was_read_whole(
    outcome: Outcome, written: int, unchanged: int, read: int | None, *, is_read_back: bool
) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    receipt = Receipt("hq", "oslo", 1, "zone", RevisionNumber(1, 1), outcome, at, at, written, unchanged, 9, "", files_read=read)
    assert receipt.is_read_back is is_read_back

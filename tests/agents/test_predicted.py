"""Predictions against what then crosses the line to a real agent, counted both ways (C11)."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from sluice.distributor.predict.predictor import Prediction, Predictor
from sluice.errors import NoSpaceError
from sluice.model.assignment import Assignment
from sluice.model.event import EventKind
from sluice.model.revision import RevisionNumber
from sluice.trust.projected import ProjectedPublisher
from tests.agents.route import DAY, Route

RANDOM = random.Random(7)
FILES = {f"file{number}": RANDOM.randbytes(2_000) for number in range(40)}


@pytest.fixture
def route(tmp_path: Path) -> Iterator[Route]:
    route = Route(tmp_path)
    yield route
    route.close()


def predictor(route: Route, *, exact: bool = True) -> Predictor:
    events = route.ledger.events(kinds=[EventKind.SENT], newest_first=True)
    return Predictor(
        "hq",
        store=route.store,
        publisher=ProjectedPublisher(Path(route.distributor.working_directory), distributor="hq"),
        states=route.ledger.snapshot().states,
        sends=[each.event for each in events],
        longest_interval=DAY,
        now=datetime.now(UTC),
        making=route.store.projected_delta if exact else None,
    )


def predicted(route: Route, name: str, revision: RevisionNumber) -> Prediction:
    with predictor(route) as each:
        return each.predict(route.subscriber, Assignment(route.subscriber.name, name, revision), route.recipe(name))


def state_of(route: Route) -> dict[str, bytes]:
    """Everything of the Distributor's that a prediction mustn't change."""
    top = Path(route.distributor.working_directory)
    found = {str(path.relative_to(top)): path.read_bytes() for path in top.rglob("*") if path.is_file() and path.name != "lock"}
    return found | {"events": repr(route.ledger.events(limit=10_000)).encode()}


def sent_beside_the_payload(route: Route) -> int:
    """Bytes of the last send, both ways."""
    (event,) = route.ledger.events(kinds=[EventKind.SENT], newest_first=True, limit=1)
    sent, received, payload = (int(str(event.event.data[key])) for key in ("bytes", "received", "payload"))
    return sent + received - payload


def changed(files: dict[str, bytes], name: str = "file3") -> dict[str, bytes]:
    return files | {name: files[name][:900] + b"changed" + files[name][900:]}


def test_a_first_send_is_predicted(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    before = state_of(route)
    found = predicted(route, "zone", revision)
    assert state_of(route) == before
    assert (found.base, found.is_exact, found.time.seconds, found.link) == (None, True, None, "this machine")
    assert found.time.basis == "nothing was sent there yet"
    assert found.bytes == pytest.approx(route.deliver("zone", revision).bytes, rel=0.05)


@pytest.mark.slow
def test_a_delta_is_predicted_before_it_is_made_and_nothing_is_changed(route: Route) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    revision = route.build("zone", "1.2", changed(FILES))
    before = state_of(route)
    found = predicted(route, "zone", revision)
    with predictor(route, exact=False) as guessing:
        guess = guessing.predict(route.subscriber, Assignment(route.subscriber.name, "zone", revision), route.recipe("zone"))
    assert state_of(route) == before
    crossed = route.deliver("zone", revision)
    assert (str(found.base), found.is_exact) == ("1.1", True)
    assert found.bytes == pytest.approx(crossed.bytes, rel=0.05)
    assert (str(guess.base), guess.is_exact) == ("1.1", False)
    of_the_test = len(str(route.bench.work.resolve())) - len("/var/lib/sluice")  # a hello has the working directory's path
    assert sent_beside_the_payload(route) - of_the_test <= 2_048
    assert crossed.bytes < guess.bytes < crossed.bytes + len(FILES["file3"]) + 2_000
    assert (found.makes, guess.makes) == (True, True)
    assert found.time.basis == "no delta was sent there in the last 30 d"


def test_a_delta_for_a_prediction_is_made_in_the_store_and_leaves_its_space_free(route: Route, monkeypatch: pytest.MonkeyPatch) -> None:
    """A directory for temporary files may be memory: none is used."""
    first = route.build("zone", "1.1", FILES)
    revision = route.build("zone", "1.2", changed(FILES))
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    with route.store.projected_delta("zone", revision, first, False) as ted:
        assert Path(ted.path).is_relative_to(route.store.root)
        assert ted.name == "from-1.1.ted"
        assert all(each.base is None for each in route.store.teds("zone", revision))
    assert not Path(ted.path).exists()
    route.store.min_free = 1 << 62
    with pytest.raises(NoSpaceError, match="made for a prediction"), route.store.projected_delta("zone", revision, first, False):
        pass
    assert not list((route.store.root / "lent").iterdir())


def test_a_whole_revision_that_nobody_has_made_yet_is_estimated_by_one_that_was(route: Route) -> None:
    texts = {name: data.hex().encode() for name, data in FILES.items()}
    route.build("zone", "1.1", texts)
    revision = route.build("zone", "1.2", changed(texts))
    (whole,) = route.store.teds("zone", revision)
    Path(whole.path).unlink()
    route.sign("zone")
    before = state_of(route)
    found = predicted(route, "zone", revision)
    assert state_of(route) == before
    assert (found.base, found.is_exact) == (None, False)
    assert found.bytes == pytest.approx(route.deliver("zone", revision).bytes, rel=0.05)


def test_what_is_held_and_only_has_to_be_extracted_is_predicted(route: Route) -> None:
    revision = route.build("zone", "1.1", FILES)
    route.deliver("zone", revision, extract=False)
    found = predicted(route, "zone", revision)
    assert found.bytes == pytest.approx(route.deliver("zone", revision).bytes, rel=0.05)
    assert found.bytes < 3_000


@pytest.mark.slow
def test_new_metadata_without_any_new_content_are_predicted(route: Route) -> None:
    route.deliver("zone", route.build("zone", "1.1", FILES))
    route.build("other", "1.1", {"a": b"of another Distribution"})
    revision = route.build("zone", "1.2", FILES)
    found = predicted(route, "zone", revision)
    assert found.bytes == pytest.approx(route.deliver("zone", revision).bytes, rel=0.05)


@pytest.mark.slow
def test_several_distributions_to_one_host_are_predicted_one_after_the_other(route: Route) -> None:
    names = ["app", "zone"]
    first = [route.build(name, "1.1", FILES) for name in names]
    with predictor(route) as each:
        found = [
            each.predict(route.subscriber, Assignment(route.subscriber.name, name, number), route.recipe(name))
            for name, number in zip(names, first, strict=True)
        ]
    crossed = [route.deliver(name, number) for name, number in zip(names, first, strict=True)]
    assert [p.bytes for p in found] == [pytest.approx(c.bytes, rel=0.05) for c in crossed]
    second = [route.build(name, "1.2", changed(FILES, f"file{at}")) for at, name in enumerate(names)]
    with predictor(route) as each:
        found = [
            each.predict(route.subscriber, Assignment(route.subscriber.name, name, number), route.recipe(name))
            for name, number in zip(names, second, strict=True)
        ]
    crossed = [route.deliver(name, number) for name, number in zip(names, second, strict=True)]
    assert [p.bytes for p in found] == [pytest.approx(c.bytes, rel=0.05) for c in crossed]


def test_a_large_payload_is_predicted_without_being_read(route: Route) -> None:
    revision = route.build("zone", "1.1", {"large": RANDOM.randbytes(9_000_000)})
    found = predicted(route, "zone", revision)
    crossed = route.deliver("zone", revision)
    assert abs(found.bytes - crossed.bytes) < 300


def test_after_real_sends_the_time_of_the_next_of_their_kind_is_within_theirs(route: Route) -> None:
    """Whole ones foretell a whole one and nothing of a delta; the first delta, which was made in its send, the next that has to be made."""
    for number in range(3):
        name = f"zone{number}"
        route.deliver(name, route.build(name, "1.1", FILES))
    took = sorted(float(str(each.event.data["seconds"])) for each in route.ledger.events(kinds=[EventKind.SENT]))
    whole = predicted(route, "other", route.build("other", "1.1", FILES))
    assert (whole.time.least, whole.time.most) == (took[1], took[1]), "without the quickest and the slowest"
    assert whole.time.basis.startswith("3 sends there of ")

    delta = predicted(route, "zone0", route.build("zone0", "1.2", changed(FILES)))
    assert (str(delta.base), delta.makes, delta.time.seconds) == ("1.1", True, None)
    route.deliver("zone0", RevisionNumber(1, 2))
    (made,) = route.ledger.events(kinds=[EventKind.SENT], newest_first=True, limit=1)
    assert made.event.data["makes"] is True
    again = predicted(route, "zone1", route.build("zone1", "1.2", changed(FILES)))
    assert (again.makes, again.time.seconds) == (True, made.event.data["seconds"])

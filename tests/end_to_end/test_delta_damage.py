"""Damaged deltas through the whole of a Subscriber: put, completed, extracted. Nothing but the right tree comes of any of them.

Signed as they are (a stolen key, a broken Distributor), changed on the way, and changed at rest; in a process of its own with little
memory. Whatever is refused leaves target, status and everything beside them as they were.
"""

from __future__ import annotations

import random
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest
from blake3 import blake3

from sluice.errors import SluiceError, TamperedError
from sluice.formats.manifest.document import manifest_bytes
from sluice.formats.ted.file import verify_payload
from sluice.formats.ted.frame import Frame
from sluice.formats.ted.index import BLOCK
from sluice.formats.zstd import compress_frame
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.order import Outcome
from sluice.subscriber.complete import complete
from sluice.subscriber.held.directory import TED
from sluice.subscriber.receive.receivers import TargetPath, TedReceiver
from sluice.trust.roles import delta_name
from sluice.trust.targets import Target
from tests.attacks.sandbox import changes, listing
from tests.conftest import IN_CI
from tests.formats.contained import MIB, Say, contained
from tests.formats.damage import BINARY, damaged
from tests.formats.deltas import BASE, NEW, Delta, sample
from tests.formats.hostile_cases import CASES, NEW_B, Hostile, parts
from tests.formats.hostile_deltas import Case, bombs, figures, frames, indexes, patches, recipes
from tests.subscriber.host import NOW, Host
from tests.subscriber.revisions import Made, made, tree_of

pytestmark = pytest.mark.slow
SEED = 1000 if IN_CI else random.SystemRandom().randrange(10**9)
MEMORY = 512 * MIB
FILE = f"from-{BASE}.ted"


class Victim:
    """1.1 is extracted at ``target``; beside it lies what nobody may touch."""

    def __init__(self, top: Path, delta: Delta) -> None:
        self.top, self.delta, self.revision = top, delta, delta.new.revision
        self.target = top / "target"
        (top / "bait").mkdir()
        (top / "bait/passwd").write_text("root:x:0:0")
        self.host = Host(top)
        self.held = self.host.held
        first = made(delta.base, dict(delta.old))
        assert self.host.install(first, self.target).outcome is Outcome.INSTALLED
        self.host.receipts()
        self.signed = manifest_bytes(delta.new)
        self._old = tree_of(self.target)
        self._status = self.held.status_path.read_bytes()
        self._before = self._listing()
        whole = made(delta.new, dict(delta.contents) | dict(delta.old))
        other = Host(top / "other")
        assert other.install(whole, top / "expected").outcome is Outcome.INSTALLED
        self._new = tree_of(top / "expected")
        shutil.rmtree(top / "other")
        shutil.rmtree(top / "expected")

    def put(self, index: bytes, payload: bytes, *, signed: bytes = b"", announced: int = -1, file: str = FILE) -> None:
        """It arrives; where a block is asked for again, once more the same."""
        with self.held.lock():
            receiver = TedReceiver(self.held, TargetPath("zone", self.revision, file))
            try:
                offset = receiver.begin(index, len(payload) if announced < 0 else announced, Target.of(signed or index))
                while not receiver.feed(payload[offset:]):
                    offset = receiver.offset
                if not receiver.is_complete:
                    raise TamperedError("it ended too early")
                receiver.finish(NOW)
            finally:
                receiver.close()

    def complete(self, index: bytes, *, file: str = FILE) -> list[str]:
        """What lacks."""
        targets = {file: Target.of(index), "manifest": Target.of(self.signed)}
        return complete(self.host.context, self.revision, targets.__getitem__)

    def extract(self) -> str:
        """``same`` where the right tree stands afterwards, and is taken away again."""
        self.host.sequence = 1
        receipt = self.host.extract(Made(self.delta.new, self.signed, b"", None, b"", {}), self.target)  # type: ignore[arg-type]
        if receipt.failure is not None:
            return receipt.failure.code
        assert tree_of(self.target) == self._new
        return "same"

    def outcome(self, act: Callable[[], str]) -> str:
        """An error's code or what ``act`` says; afterwards all is as before."""
        try:
            said = act()
        except SluiceError as error:
            said = error.code
        if said == "same":
            self._again()
        else:
            assert tree_of(self.target) == self._old, said
            self._clear()
        assert changes(self._before, self._listing()) == {}, said
        return said

    def _clear(self) -> None:
        for place in (self.held.receiving(self.revision), self.held.revision(self.revision)):
            shutil.rmtree(place, ignore_errors=True)
        for path in self.held.receipts.glob("*.json"):
            path.unlink()
        self.held.status_path.write_bytes(self._status)

    def _again(self) -> None:
        """1.1 as in the beginning, but for what extractions note of it."""
        shutil.rmtree(self.held.directory)
        shutil.rmtree(self.target)
        assert self.host.install(made(self.delta.base, dict(self.delta.old)), self.target).outcome is Outcome.INSTALLED
        self._status = self.held.status_path.read_bytes()

    def _listing(self) -> dict[str, tuple[object, ...]]:
        """Everything but what the agent keeps of this Distribution."""
        return dict(listing(self.top, without=lambda path: path.startswith(("work/distributors/hq/distributions/zone", "target"))))


@pytest.fixture
def place() -> Iterator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="sluice-damage-", dir="/dev/shm" if Path("/dev/shm").is_dir() else None))
    yield directory
    shutil.rmtree(directory)


def tried(
    place: Path, cases: Callable[[Victim], Iterator[tuple[str, Callable[[], str]]]], delta: Callable[[], Delta] = sample
) -> Counter[str]:
    """What became of each, in a process of its own."""

    def work(say: Say) -> Counter[str]:
        victim = Victim(place, delta())
        outcomes: Counter[str] = Counter()
        for name, act in cases(victim):
            say(name)
            outcomes[victim.outcome(act)] += 1
        return outcomes

    outcomes = contained(work, memory=MEMORY)
    assert set(outcomes) <= {
        "StoreCorruptError",
        "TamperedError",
        "TruncatedError",
        "BaseDiffersError",
        "NotFoundError",
        "stored",
        "same",
    }, SEED
    return outcomes


def whole_way(victim: Victim, index: bytes, payload: bytes) -> str:
    """Put, completed and extracted, as far as it gets."""
    victim.put(index, payload)
    assert victim.complete(index) == []
    return victim.extract()


def test_what_nobody_changed_is_extracted(place: Path) -> None:
    delta = sample()
    assert tried(place, lambda victim: iter([("as it is", lambda: whole_way(victim, *delta.signed()))])) == {"same": 1}


def signed_cases(delta: Delta) -> Iterator[Case]:
    """Every family, a little of each."""
    return chain(
        recipes(delta, SEED, 250),
        frames(delta, SEED, 40),
        patches(delta, SEED, 60),
        indexes(delta, SEED, 150),
        figures(delta),
        bombs(delta),
    )


def test_what_is_signed_and_damaged_is_refused_wherever_it_is_found_out(place: Path) -> None:
    def cases(victim: Victim) -> Iterator[tuple[str, Callable[[], str]]]:
        for name, index, payload in signed_cases(victim.delta):
            yield name, lambda i=index, p=payload: whole_way(victim, i, p)  # type: ignore[misc]

    outcomes = tried(place, cases)
    assert outcomes["same"] <= outcomes.total() // 10, outcomes
    assert outcomes.total() > 1000


def by_hand() -> Delta:
    """What the named cases begin with."""
    files = {"a": b"a of 1", "sub/b": bytes([1]) * 3000}
    entries = [Entry(EntryKind.DIRECTORY, name, 0o755, 0) for name in ("", "sub")]
    entries += [Entry(EntryKind.FILE, name, 0o644, 0, len(data), blake3(data).hexdigest()) for name, data in files.items()]
    ordered = tuple(sorted(entries, key=lambda each: each.path))
    true = parts(Manifest("zone", BASE, "file", (Destination("{{ DEST }}", True, ordered),)))
    old = {blake3(data).hexdigest(): data for data in files.values()}
    return Delta(true.base, true.new, old, {blake3(data).hexdigest(): data for data in (b"a of 5", NEW_B)}, b"", (), ())


def test_each_hostile_delta_meets_its_own_refusal(place: Path) -> None:
    def cases(victim: Victim) -> Iterator[tuple[str, Callable[[], str]]]:
        for name, case in CASES.items():
            yield name, lambda n=name, c=case: by_name(victim, n, c)  # type: ignore[misc]

    outcomes = tried(place, cases, by_hand)
    assert outcomes["same"] == sum(not case.answers for case in CASES.values())
    assert outcomes.total() == len(CASES) >= 100


def by_name(victim: Victim, name: str, case: Hostile) -> str:
    """One of them, with the error that it has to meet."""
    found = case.make(parts(victim.delta.base))
    file = delta_name(found.made.of, found.made.small)
    try:
        victim.put(found.index, found.payload, announced=found.announced, file=file)
        assert victim.complete(found.index, file=file) == [], name
        said = victim.extract()
    except SluiceError as error:
        assert error.code in case.answers, (name, error)  # noqa: PT017 - the parent is told
        raise
    assert said == "same"
    assert not case.answers, name
    return said


def test_what_is_changed_on_the_way_is_refused(place: Path) -> None:
    def cases(victim: Victim) -> Iterator[tuple[str, Callable[[], str]]]:
        index, payload = victim.delta.signed()
        for name, other in damaged(payload, BINARY, SEED, 150):
            yield f"payload, {name}", lambda p=other: changed(victim, index, p, index)  # type: ignore[misc]
        for name, other in damaged(index, BINARY, SEED, 150):
            yield f"index, {name}", lambda i=other: changed(victim, i, payload, index)  # type: ignore[misc]

    assert set(tried(place, cases)) <= {"TamperedError", "TruncatedError", "StoreCorruptError"}


def test_blocks_that_changed_places_on_the_way_are_refused(place: Path) -> None:
    delta = sample()
    noise = compress_frame(random.Random(SEED).randbytes(2 * BLOCK + 5))
    figures = (*delta.frames[:5], Frame(len(noise), 2 * BLOCK + 5))
    index, payload = replace(delta, frames=figures, data=(*delta.data[:5], noise)).signed()
    pieces = [payload[at : at + BLOCK] for at in range(0, len(payload), BLOCK)]

    def cases(victim: Victim) -> Iterator[tuple[str, Callable[[], str]]]:
        yield "as they are", lambda: changed(victim, index, payload, index)
        for order in ((1, 0, 2), (0, 2, 1), (0, 0, 2), (0, 1), (1, 2)):
            body = b"".join(pieces[number] for number in order)
            yield f"blocks {order}", lambda p=body: changed(victim, index, p, index)  # type: ignore[misc]

    assert tried(place, cases) == {"stored": 1, "TamperedError": 5}


def changed(victim: Victim, index: bytes, payload: bytes, signed: bytes) -> str:
    """Something else comes than was signed."""
    victim.put(index, payload, signed=signed)
    return "stored"


def test_what_changes_at_rest_is_refused_or_never_read(place: Path) -> None:
    def cases(victim: Victim) -> Iterator[tuple[str, Callable[[], str]]]:
        index, payload = victim.delta.signed()
        whole, _ = victim.delta.ted()
        for name, other in damaged(whole, BINARY, SEED, 100):
            yield f"before it is completed, {name}", lambda data=other: at_rest(victim, index, payload, data, completed=False)  # type: ignore[misc]
            yield f"before it is extracted, {name}", lambda data=other: at_rest(victim, index, payload, data, completed=True)  # type: ignore[misc]

    outcomes = tried(place, cases)
    assert outcomes["same"] <= outcomes.total() // 10, outcomes


def at_rest(victim: Victim, index: bytes, payload: bytes, data: bytes, *, completed: bool) -> str:
    """Somebody changes the file that was received."""
    victim.put(index, payload)
    path = victim.held.receiving(NEW) / TED
    if completed:
        assert victim.complete(index) == []
        path = victim.held.revision(NEW) / TED
    verify_payload(path)
    path.write_bytes(data)
    if not completed:
        assert victim.complete(index) == []
    return victim.extract()

"""Building and signing under fault, on the real store, sources and keys."""

from __future__ import annotations

import shutil
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from random import Random

from infra.sources.files import FilesSource
from infra.store.files import FileStore
from infra.store.packs import Packs
from sluice.delta.apply import read_delta
from sluice.distributor.build.build import build
from sluice.distributor.build.sign import sign
from sluice.errors import SluiceError
from sluice.formats.manifest.delta import apply_manifest_delta, filled
from sluice.formats.ted.file import PAYLOAD_OFFSET, cut_contents, needed_contents, read_contents, verify_payload
from sluice.formats.ted.index import parse_index
from sluice.formats.ted.recipe import read_recipe, resolved_references
from sluice.model.manifest import Manifest
from sluice.model.revision import RevisionNumber
from sluice.model.site import Distribution, DistributionType, FileSource
from sluice.ports import TedFile
from sluice.trust.publish import Publisher
from sluice.trust.verify import TrustDirectory
from tests.soak.case import After, Places, must, run_again
from tests.soak.process import Tell
from tests.soak.running import Runner, Told, Work
from tests.soak.trees import change_tree, files_at, first_tree, leftovers

LATER = 10**11
"""Nanoseconds by which a scan's clock is ahead, so that no file is too young to be believed unchanged."""
NOW = datetime(2026, 12, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def the_distribution(source: Path, max_revisions: int = 3) -> Distribution:
    files = (FileSource(PurePosixPath(source), "{{ DEST }}/zone"),)
    return Distribution("zone", "hq", DistributionType.FILE, files=files, max_revisions=max_revisions)


def build_zone(places: Places, max_revisions: int = 3) -> RevisionNumber | None:
    distribution = the_distribution(places.outside / "source", max_revisions)
    source = FilesSource(now_ns=lambda: time.time_ns() + LATER)
    return build(distribution, store=FileStore(places.live / "hq"), source=source).revision


def check_store(store: FileStore) -> None:
    """Every revision that can be seen is whole, down to its contents."""
    kept = store.revisions("zone")
    try:
        for revision in kept:
            manifest = store.manifest("zone", revision)
            names = {path.name for path in store.revision_directory("zone", revision).iterdir()}
            teds = store.teds("zone", revision)
            must({name for name in names if name.endswith(".ted")} == {ted.name for ted in teds}, f"a .ted of {revision} isn't whole")
            for ted in teds:
                index = verify_payload(ted.path)
                if index.recipe is not None and ted.base in kept:
                    check_delta(store, ted, manifest)
                elif ted.base is None or ted.base in kept:
                    base = store.manifest("zone", ted.base) if ted.base else None
                    with open(ted.path, "rb") as file:
                        file.seek(PAYLOAD_OFFSET)
                        list(read_contents(file.read, index, needed_contents(manifest, base)))
    except (SluiceError, OSError) as error:
        must(False, f"the store shows {list(map(str, kept))}, but {type(error).__name__}: {error}")


def check_delta(store: FileStore, ted: TedFile, manifest: Manifest) -> None:
    """Make the new contents and the manifest from the base's, as a Subscriber does. Raises StoreCorruptError."""
    assert ted.base is not None
    base, index = store.manifest("zone", ted.base), parse_index(ted.index)
    store.contents.refresh()
    with ExitStack() as stack:
        packs = Packs(store.contents, stack)
        held = [packs.blob(*content) for content in base.contents()]
        file = stack.enter_context(open(ted.path, "rb"))
        file.seek(PAYLOAD_OFFSET)
        recipe = read_recipe(file.read, index)
        needed = needed_contents(manifest, base)
        outline = apply_manifest_delta(base, recipe.manifest)
        must(filled(outline, [digest for digest, _ in needed]) == manifest, f"{ted.name} brings another manifest")
        ranges = resolved_references(recipe, index, base, manifest)
        plaintext = read_delta(
            file.read,
            index.frames,
            ranges,
            lambda chosen: b"".join(held[each.content].read(each.offset, each.length) for each in chosen),
            small=ted.small,
        )
        for _ in cut_contents(plaintext, index, needed):
            pass  # each is held against its digest


@dataclass
class Building:
    """A build after ``revisions`` others."""

    name: str
    revisions: int
    changes: bool = True
    max_revisions: int = 3
    operation: str = "build"
    may_repeat: bool = True

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        first_tree(places.outside / "source", chance, large=chance.random() < 0.3)
        for number in range(self.revisions):
            if number:
                (places.outside / "source" / "changes").write_bytes(chance.randbytes(50 + number))
            build_zone(places, self.max_revisions)
        self._before = FileStore(places.live / "hq").revisions("zone")
        if self.revisions and self.changes:
            change_tree(places.outside / "source", chance)
        elif self.revisions:
            (places.live / "hq/store/distributions/zone/scan").unlink()

    def work(self, places: Places) -> Work:
        def act(tell: Tell) -> None:
            built = build_zone(places, self.max_revisions)
            tell(built=str(built) if built else None)

        return Work(act)

    def check(self, places: Places, after: After) -> None:
        store = FileStore(places.live / "hq")
        check_store(store)
        kept = store.revisions("zone")
        lost = set(self._before) - set(kept)
        must(not lost or (kept and kept[-1] > self._before[-1] and kept[-1].is_baseline), f"{lost} are gone, and nothing stands for them")
        for each in after.told:
            must(each["built"] is None or RevisionNumber.parse(each["built"]) in kept, f"{each['built']} was built and is gone")

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        run_again(self, places, runner)

    def settled(self, places: Places) -> object:
        store = FileStore(places.live / "hq")
        check_store(store)
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        return files_at(places.live / "hq", without=("scan",))


@dataclass
class MakingTed:
    """A ``.ted`` that a Subscriber needs and nobody needed before: of 1.3, whole or from ``base``."""

    name: str = "ted"
    base: RevisionNumber | None = None
    small: bool = False
    operation: str = "build"
    may_repeat: bool = True

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        source = places.outside / "source"
        first_tree(source, chance, large=self.base is not None)
        large = (source / "large").read_bytes() if self.base is not None else b""
        build_zone(places)
        change_tree(source, chance)
        build_zone(places)
        (source / "changes").write_bytes(b"as before, and more" + (source / "changes").read_bytes())
        if large:  # from that of the base, whatever became of it between: the search in a reference that resembles nothing takes seconds
            (source / "large").write_bytes(large[1000:900_000] + chance.randbytes(700) + large[800_000:])
        build_zone(places)

    def work(self, places: Places) -> Work:
        def act(tell: Tell) -> None:
            store = FileStore(places.live / "hq")
            ted = store.ensure_ted("zone", RevisionNumber(1, 3), self.base, small=self.small)
            tell(ted=ted.name)
            with store.lock("zone"):  # the next build, which sweeps
                pass

        return Work(act)

    def check(self, places: Places, after: After) -> None:
        store = FileStore(places.live / "hq")
        check_store(store)
        must([str(r) for r in store.revisions("zone")] == ["1.1", "1.2", "1.3"], "a revision is gone")
        names = {ted.name for ted in store.teds("zone", RevisionNumber(1, 3))}
        must(all(each["ted"] in names for each in after.told), "a .ted that was made is gone")

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        run_again(self, places, runner)

    def settled(self, places: Places) -> object:
        check_store(FileStore(places.live / "hq"))
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        return files_at(places.live / "hq", without=("scan",))


@dataclass
class Signing:
    """A publishing after ``published`` others; with ``is_refresh`` nothing but the time has changed."""

    name: str
    published: int
    is_refresh: bool = False
    operation: str = "sign"
    may_repeat: bool = True

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        first_tree(places.outside / "source", chance, large=False)
        build_zone(places)
        for number in range(self.published):
            self._sign(places, NOW)
            if number or not self.is_refresh:
                (places.outside / "source" / "changes").write_bytes(chance.randbytes(60 + number))
                build_zone(places)
        if self.is_refresh:
            self._sign(places, NOW)

    def _sign(self, places: Places, now: datetime) -> Publisher:
        publisher = Publisher(places.live / "hq", distributor="hq")
        publisher.ensure_keys(now)
        store = FileStore(places.live / "hq")
        sign([] if now > NOW else ["zone"], store=store, publisher=publisher, now=now, longest_interval=DAY)
        return publisher

    def work(self, places: Places) -> Work:
        def act(tell: Tell) -> None:
            publisher = self._sign(places, NOW + 10 * DAY if self.is_refresh else NOW)
            tell(versions=publisher.versions(), files={name: data.decode() for name, data in publisher.files_for("zone", {}).items()})

        return Work(act)

    def check(self, places: Places, after: After) -> None:
        """A Subscriber that saw what was published, or sees what is now, believes it; and must still believe what comes."""
        self._subscriber = places.outside / "subscriber"
        shutil.rmtree(self._subscriber, ignore_errors=True)
        self._subscriber.mkdir()
        self._trust = TrustDirectory(self._subscriber, distributor="hq")
        publisher = Publisher(places.live / "hq", distributor="hq")
        try:
            for each in after.told:
                files = {name: text.encode() for name, text in each["files"].items()}
                self._trust.install_root(files["1.root.json"])
                self._trust.accept(files, "zone")
            if (places.live / "hq/trust/repository/1.root.json").exists():
                self._trust.install_root(publisher.root())
            versions = publisher.versions()
            must(versions or not self.published, "what was published is gone")
            if versions:
                self._trust.accept(publisher.files_for("zone", {}), "zone")
        except (SluiceError, OSError) as error:
            must(False, f"a Subscriber refuses what is published: {type(error).__name__}: {error}")

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        told: Told = run_again(self, places, runner)
        try:
            files = {name: text.encode() for name, text in told[-1]["files"].items()}
            self._trust.install_root(files["1.root.json"])
            self._trust.accept(files, "zone")
            self._trust.view("zone", now=NOW)
        except SluiceError as error:
            must(False, f"a Subscriber that saw the set before refuses the next: {type(error).__name__}: {error}")

    def settled(self, places: Places) -> object:
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        publisher = Publisher(places.live / "hq", distributor="hq")
        return publisher.versions(), publisher.listing("zone")


def distributor_cases() -> list[Building | MakingTed | Signing]:
    """Every situation of build and sign."""
    return [
        Building("first", 0),
        Building("delta", 1),
        Building("baseline", 3),
        Building("always-whole", 1, max_revisions=1),
        Building("unchanged", 1, changes=False),
        MakingTed(),
        MakingTed("delta-of-two", RevisionNumber(1, 1)),
        MakingTed("delta-small", RevisionNumber(1, 1), small=True),
        Signing("first", 0),
        Signing("revision", 1),
        Signing("third", 2),
        Signing("refresh", 1, is_refresh=True),
    ]

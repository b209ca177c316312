"""One generated case: trees, blueprint options and a host by a number, and some revisions one after the other."""

from __future__ import annotations

import os
import shutil
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath
from random import Random

from blake3 import blake3

from infra.sources.files import FilesSource
from infra.store.files import FileStore
from sluice.distributor.build.build import build
from sluice.errors import SluiceError, SourceError
from sluice.model.manifest import Manifest
from sluice.model.order import Outcome
from sluice.model.removals import USUAL, RemovalLimit
from sluice.model.revision import RevisionNumber
from sluice.model.site import Copy, DirectoryMode, Distribution, DistributionType, FileSource, Synchronize
from sluice.rules.destinations import path_of
from tests.subscriber.revisions import Made, made
from tests.trees.growing import (
    cannot_be_distributed,
    change,
    file_at,
    grow,
    is_directory,
    is_file,
    kind_of,
    name_of,
    paths_in,
    remove,
    stamp,
)
from tests.trees.law import FOREIGN, Placed, Run, differences, violations
from tests.trees.snapshot import snapshot
from tests.trees.standing import NOBODY, Host, clear_the_way
from tests.trees.subscriber import Subscriber

UNPRIVILEGED = 0.3
"""Share of the cases in which the agent isn't root."""
FAILING = 0.15
"""Share of the runs in which a post action fails."""
KEEPING = 0.1
"""Share of the revisions without rollback."""
HELD = 0.08
"""Share of the runs during which a path is immutable or another program holds a file."""
VERIFYING = 0.6
"""Share of the revisions of which every extraction looks at the disk."""
CLEARED = 0.7
"""Share of the failed runs after which somebody clears the way."""


@dataclass
class Found:
    """What came of some cases."""

    cases: int = 0
    runs: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    foreign_named: int = 0
    violations: list[str] = field(default_factory=list)

    def add(self, other: Found) -> None:
        """Count others in."""
        self.cases += other.cases
        self.runs += other.runs
        self.outcomes += other.outcomes
        self.foreign_named += other.foreign_named
        self.violations += other.violations

    def text(self) -> str:
        """The figures."""
        outcomes = ", ".join(f"{number} {name}" for name, number in self.outcomes.most_common())
        counted = f"{self.cases} cases, {self.runs} extractions ({outcomes}), {self.foreign_named} foreign paths named"
        return f"{counted}, {len(self.violations)} violations"


@dataclass
class Part:
    """One element of ``files:``."""

    source: FileSource

    @property
    def top(self) -> Path:
        """Its destination, without the links that an agent may follow."""
        path = self.source.destination
        if is_directory(Path(self.source.source)):
            return Path(os.path.realpath(path))
        directory, _, name = path.rpartition("/")
        return Path(os.path.realpath(directory), name or self.source.source.name)


class Author:
    """One Distribution: its sources, its blueprint and its revisions."""

    def __init__(self, name: str, directory: Path, subscriber: Subscriber, chance: Random, *, is_root: bool) -> None:
        self.name, self.placed = name, Placed()
        self.subscriber = subscriber
        self.parts: list[Part] = []
        self._chance, self._is_root = chance, is_root
        self._directory = directory
        self._store = FileStore(directory / "hq")
        self._number = 0
        directory.mkdir()

    def add(self, destination: str) -> Path:
        """Add a new source for a destination; returns the source."""
        chance = self._chance
        source = self._directory / f"source {len(self.parts)}-{self._number}"
        if chance.random() < 0.25:
            file_at(source, chance)
            stamp([source], chance)
        else:
            grow(source, chance)
        self.parts.append(Part(self._options(FileSource(PurePosixPath(source), destination))))
        return source

    def change(self) -> None:
        """Let the author edit sources and blueprint."""
        chance = self._chance
        for part in self.parts:
            source = Path(part.source.source)
            if chance.random() < 0.7 and is_directory(source):
                change(source, chance)
            elif chance.random() < 0.5 and is_file(source):
                file_at(source, chance)
            if chance.random() < 0.25:
                part.source = self._options(part.source)
            if chance.random() < 0.07:  # a file becomes a directory, or the other way round
                grows = is_file(source)
                remove(source)
                if grows:
                    grow(source, chance)
                else:
                    file_at(source, chance)
        if len(self.parts) > 1 and chance.random() < 0.3:
            self.parts.remove(chance.choice(self.parts))

    def build(self) -> Manifest:
        """Have the next revision scanned by the Distributor's code. Names that can't be distributed are removed once they are refused."""
        chance = self._chance
        self._number += 1
        copies_all = chance.random() < 0.07  # which verifies nothing: every look would copy anew
        distribution = Distribution(
            self.name,
            "hq",
            DistributionType.FILE,
            verify=not copies_all and chance.random() < VERIFYING,
            copy=Copy.ALL if copies_all else Copy.DIFFERING,
            rollback=chance.random() >= KEEPING,
            case_sensitive_only=True,
            files=tuple(part.source for part in self.parts),
        )
        try:
            manifest = self._scan(distribution)
        except SourceError:
            refused = [path for part in self.parts for path in cannot_be_distributed(Path(part.source.source))]
            if not refused:
                raise
            for path in refused:
                if kind_of(path):
                    remove(path)
            manifest = self._scan(distribution)
        return replace(manifest, revision=RevisionNumber.parse(f"1.{self._number}"))

    def move(self, destination: str) -> None:
        """Give some source another destination."""
        part = self._chance.choice(self.parts)
        part.source = replace(part.source, destination=destination)

    def made(self, manifest: Manifest) -> Made:
        """Make its ``.ted``."""
        files = [path for part in self.parts for path in paths_in(Path(part.source.source)) if is_file(path)]
        contents = {blake3(data).hexdigest(): data for data in (path.read_bytes() for path in files)}
        return made(manifest, contents)

    def _scan(self, distribution: Distribution) -> Manifest:
        manifest = build(distribution, store=self._store, source=FilesSource(), dry_run=True).manifest
        assert manifest is not None
        return manifest

    def _options(self, source: FileSource) -> FileSource:
        chance = self._chance
        owners = ("", "", "", "keep", "root:root", "12345:54321") if self._is_root else ("",) * 12 + ("keep", "nobody-here:root")
        synchronize = chance.choices((Synchronize.NO, Synchronize.YES, Synchronize.MIRROR), (40, 35, 25))[0]
        excludes: tuple[tuple[str, ...], ...] = (("*.tmp",), ("keep",), ("/a", "**/b", "conf.d/"), ("*e*",), ("*[a-m]*",))
        return replace(
            source,
            exclude=chance.choice(excludes) if chance.random() < (0.7 if synchronize is Synchronize.MIRROR else 0.3) else (),
            mode=chance.choice(("keep", "keep", "0644", "0600")),
            synchronize=synchronize,
            owner=chance.choice(owners),
            xattrs=chance.choice(("", "", "keep", {"user.a": "x"})),
            max_removals=chance.choice((USUAL, USUAL, RemovalLimit(100, 0), RemovalLimit(0, 0), RemovalLimit(20, 2))),
            directory_mode=chance.choice((DirectoryMode.KEEP, DirectoryMode.KEEP, DirectoryMode.KEEP, DirectoryMode.SET)),
        )


class Case:
    """All that happens under one number."""

    def __init__(self, number: int, directory: Path) -> None:
        self._chance = chance = Random(number)
        self._directory = directory
        user = NOBODY if chance.random() < UNPRIVILEGED else 0
        self._is_root = user == 0
        work = directory / "work"
        work.mkdir(mode=0o700)
        os.chown(work, user, user)
        self._host = Host(directory / "host", chance, user)
        self._user = user
        self.found = Found(cases=1)

    def run(self) -> Found:
        """Try it."""
        chance = self._chance
        zone = self._author("zone")
        for _ in range(chance.choice((1, 1, 1, 2, 2, 3))):
            self._destination(zone)
        other: Author | None = None
        for number in range(chance.randrange(2, 5)):
            if number:
                zone.change()
                if chance.random() < 0.2:
                    self._destination(zone)
                if chance.random() < 0.12:
                    zone.move(self._spelled(self._host.parent() / name_of(chance)))
                if chance.random() < 0.5:
                    self._host.meddle(self._tops(zone, other))
            self._step(zone)
            if number == 0 and chance.random() < 0.35:
                other = self._author("other")
                into = chance.choice(zone.parts)
                other.add(into.source.destination)
            if other is not None:
                if number:
                    other.change()
                self._step(other)
        return self.found

    def _author(self, name: str) -> Author:
        return Author(name, self._directory / name, Subscriber(self._directory, name, self._user), self._chance, is_root=self._is_root)

    def _destination(self, author: Author) -> None:
        chance = self._chance
        parent = self._host.parent()
        path = parent / name_of(chance)
        source = author.add(self._spelled(path))
        if is_directory(Path(os.path.realpath(parent))) and not kind_of(path) and chance.random() < 0.7:
            self._host.put(path, source)

    def _spelled(self, path: Path) -> str:
        chance = self._chance
        text = str(path)
        if chance.random() < 0.15:
            text = text.replace("/host/", "/host/./") if chance.random() < 0.5 else text.replace("/host/", "//host//")
        return f"{text}/" if chance.random() < 0.2 else text

    @staticmethod
    def _tops(*authors: Author | None) -> list[Path]:
        return [part.top for author in authors if author is not None for part in author.parts]

    def _step(self, author: Author) -> None:
        """Build, rehearse, extract, look; and extract once more."""
        fails = self._chance.random() < FAILING
        manifest = author.build()
        texts = tuple(path_of(part.source.destination, each) for part, each in zip(author.parts, manifest.destinations, strict=True))
        found, subscriber = self.found, author.subscriber
        what = f"{author.name} {manifest.revision}"
        before = snapshot(self._host.root)
        held = self._host.held(self._tops(author)) if self._chance.random() < HELD else nullcontext()
        with held:
            unheld = subscriber.foretell(manifest, texts)
        revision = author.made(manifest)
        subscriber.receive(revision)
        self._complain(f"the dry run of {what} left", differences(before, snapshot(self._host.root)))
        with held:
            foretold = subscriber.foretell(manifest, texts)
            receipt = subscriber.extract(revision, texts, fails=fails)
        after = snapshot(self._host.root)
        destinations = {str(part.top): each for part, each in zip(author.parts, manifest.destinations, strict=True)}
        run = Run(destinations, foretold, unheld, before, after, receipt, self._user, fails)
        found.runs += 1
        found.foreign_named += len(foretold.of(*FOREIGN))
        found.outcomes[receipt.failure.code if receipt.failure else receipt.outcome.value] += 1
        self._complain(what, violations(run, author.placed))
        if receipt.outcome is not Outcome.FAILED:  # what one without rollback left counts too
            author.placed.after(run.wanted, before, after)
        if not run.is_installed:
            if self._chance.random() < CLEARED:
                clear_the_way(run.wanted)
            return
        again = subscriber.extract(revision, texts)
        if again.outcome is not Outcome.ALREADY_INSTALLED:
            self._complain(what, [f"the second run: {again.outcome}: {again.failure}"])
        self._complain(f"the second run of {what} left", differences(after, snapshot(self._host.root)))

    def _complain(self, what: str, found: Iterator[str] | list[str]) -> None:
        self.found.violations += [f"{what}: {each}" for each in found]


@contextmanager
def base_directory() -> Iterator[Path]:
    """A place for cases, in memory if there is some: it isn't about what is durable, and an agent syncs a lot."""
    memory = Path("/dev/shm")
    base = Path(tempfile.mkdtemp(prefix="sluice-trees-", dir=memory if os.access(memory, os.W_OK) else None))
    base.chmod(0o755)
    try:
        yield base
    finally:
        shutil.rmtree(base)


def try_case(number: int, base: Path) -> Found:
    """Try one case below ``base``. An exception of the code under test is a violation too."""
    directory = Path(tempfile.mkdtemp(prefix=f"case-{number}-", dir=base))
    directory.chmod(0o755)
    case = Case(number, directory)
    try:
        return case.run()
    except (SluiceError, AssertionError, OSError, ValueError) as error:
        last = traceback.extract_tb(error.__traceback__)[-3:]
        where = " ".join(f"{Path(each.filename).name}:{each.lineno}" for each in last)
        case.found.violations.append(f"{type(error).__name__} at {where}: {error}")
        return case.found

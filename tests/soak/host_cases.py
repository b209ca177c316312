"""Extracting under fault at the Subscriber itself, without trust and wire: what only a few sites have, more often killed than the rest.

A first installation below directories that don't exist yet; one over what users changed, to two destinations of which one is new; and
removals, of what was sent before and of what others put there.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Protocol

from sluice.errors import UndoFailedError
from sluice.model.order import Outcome, Receipt
from tests.soak.case import After, Places, must
from tests.soak.process import REFUSED, Tell
from tests.soak.running import Runner, Told, Work
from tests.soak.trees import leftovers
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import make, tree_of
from tests.subscriber.test_extract_rollback import Scene
from tests.subscriber.test_extract_synchronize import Site

DONE = (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED)


class Subject(Protocol):
    """A Subscriber's Distribution ahead of an extraction."""

    host: Host
    directory: Path

    def extract(self) -> Receipt:
        """Extract what was received."""
        ...

    @property
    def is_new(self) -> bool:
        """Whether everything is new. Raises AssertionError unless that or everything is old, with nothing left over."""
        ...


class First:
    """Nothing stands at the target, which lies below directories that don't exist."""

    def __init__(self, directory: Path) -> None:
        self.directory, self.host = directory, Host(directory)
        self._source, self._target = directory / "source", directory / "opt/new/zone"
        (self._source / "a/b").mkdir(parents=True)
        (self._source / "a/b/file").write_text("x")
        self._made = make("1.1", self._source)
        self.host.receive(self._made)

    def extract(self) -> Receipt:
        """Extract 1.1."""
        return self.host.extract(self._made, self._target)

    @property
    def is_new(self) -> bool:
        """Neither the target nor its parents are left when it is old."""
        assert self.host.leftovers(self.directory) == []
        if not (self.directory / "opt").exists():
            return False
        assert tree_of(self._target) == tree_of(self._source)
        return True


class Touched(Scene):
    """Everything changes that can, at two destinations, between actions."""

    @property
    def log(self) -> Path:
        """What the actions wrote."""
        return self.directory / "log"

    def extract(self) -> Receipt:  # type: ignore[override]
        """Extract 1.2."""
        pre = [shell(f"echo pre >>{self.log}", f"echo undo-pre >>{self.log}")]
        post = [shell(f"echo post >>{self.log}", f"echo undo-post >>{self.log}")]
        receipt: Receipt = super().extract(pre=pre, post=post)
        return receipt

    @property
    def is_new(self) -> bool:
        """What users put there stays in both cases."""
        if tree_of(self.target) == self.before:
            self.assert_untouched()
            return False
        self.assert_installed()
        return True


class Removing(Site):
    """1.2 takes a directory away, files, and everything foreign; it changes one file."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, synchronize="mirror")
        (self.target / "foreign/deep").mkdir(parents=True)
        (self.target / "foreign/deep/x").write_text("mine")
        os.utime(self.target / "foreign", ns=(9, 9))
        (self.target / "sub").chmod(0o500)
        shutil.rmtree(self.source / "sub")
        (self.source / "b").unlink()
        (self.source / "a").write_text("changed")
        os.utime(self.target, ns=(7, 7))
        self.before = tree_of(self.target)
        self._made = self.revision("mirror")
        self.host.receive(self._made)

    def extract(self) -> Receipt:
        """Extract 1.2."""
        return self.host.extract(self._made, self.target)

    @property
    def is_new(self) -> bool:
        """All of the old tree, or all of the new one and nothing else."""
        found = tree_of(self.target)
        assert self.host.leftovers(self.directory) == []
        assert found in (self.before, tree_of(self.source))
        return found != self.before


class OnHost:
    """One of these under fault. Its next start ends what was begun: all old or all new; the next order brings the new."""

    operation = "extract"
    may_repeat = True

    def __init__(self, name: str, subject: Callable[[Path], Subject], kills: int) -> None:
        """``kills``: of each kind in a sample."""
        self.name, self.kills, self._make = name, kills, subject
        self._subject: Subject

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        self._subject = self._make(places.live)

    def work(self, places: Places) -> Work:
        return Work(self._start)

    def _start(self, tell: Tell) -> int:
        """What an agent does: end what was begun, then obey."""
        host = self._subject.host
        try:
            host.recover()
            host.sequence = max((each.sequence for each in host.receipts()), default=0)
            receipt = self._subject.extract()
        except OSError:  # an agent's seam says it in its own words
            return REFUSED
        tell(outcome=receipt.outcome.value, code=receipt.failure.code if receipt.failure else "")
        return 0

    def check(self, places: Places, after: After) -> None:
        """Before the next start nobody has promised anything but what ``Extracting`` sees."""

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        subject = self._subject
        ended = runner.run(Work(lambda _: subject.host.recover()))
        must(ended.code == 0, f"the next start ends with {ended.code}: {ended.said}")
        is_new = subject.is_new
        if after.told:
            was_told = after.told[-1]["outcome"] in DONE
            must(is_new or not was_told or after.was_cut, "it said that it is installed; it isn't")
        if is_new:
            must(subject.host.receipts()[-1].outcome in DONE, "what is installed isn't sworn")
        if isinstance(subject, Touched) and after.is_first and not after.was_cut:
            self._check_log(subject, is_new, after.told)
        ended = runner.run(self.work(places))
        must(ended.code == 0 and ended.told[-1]["outcome"] in DONE, f"the repetition ends with {ended.code}, {ended.told}: {ended.said}")

    def _check_log(self, subject: Touched, is_new: bool, told: Told) -> None:
        """Whatever began was undone, in the reverse order; an action that had only been announced is undone too."""
        said = subject.log.read_text().split() if subject.log.exists() else []
        if is_new:
            must(said == ["pre", "post"], f"what is installed was done by {said}")
        elif not any(each["code"] == UndoFailedError.__name__ for each in told):
            undone = [word for word in said if word.startswith("undo")]
            must(undone in ([], ["undo-pre"], ["undo-post", "undo-pre"]), f"undone in another order: {said}")
            for word in ("pre", "post"):
                must(said.count(f"undo-{word}") >= said.count(word), f"{word} was done and not undone: {said}")

    def settled(self, places: Places) -> object:
        must(self._subject.is_new, "it isn't installed")
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        targets = [path for path in places.live.rglob("zone") if path.relative_to(places.live).parts[0] != "work"]
        return {str(path): tree_of(path) for path in targets}


def host_cases() -> list[OnHost]:
    """Every situation."""
    return [OnHost("parents", First, 4), OnHost("touched", Touched, 12), OnHost("removing", Removing, 10)]

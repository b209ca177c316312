"""Receiving and extracting under fault."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random

from sluice.errors import UndoFailedError
from sluice.formats.protocol import data_header
from sluice.model.action import Action
from sluice.model.order import Outcome
from sluice.model.site import Synchronize
from sluice.sender.conversation import Conversation
from sluice.subscriber.held.directory import SUPPLEMENT_PREFIX
from sluice.trust.roles import manifest_target, ted_target
from tests.soak.case import After, Places, must
from tests.soak.pair import Pair
from tests.soak.process import Tell
from tests.soak.running import Runner, Told, Work
from tests.soak.trees import files_at, kinds_and_contents, leftovers, tree_at
from tests.subscriber.host import shell

FOREIGN = "foreign"
"""What others put into the target."""
LACKING = ("stays", "mode-changes")
"""Files whose content 1.2 has from 1.1, and that somebody changed."""


@dataclass
class Receiving:
    """A receive of 1.2: ``arrived`` bytes of it came before the line was cut; as a delta, 1.1 is extracted, and some of it ``lacks``."""

    name: str
    is_delta: bool = False
    arrived: int = 0
    lacks: bool = False
    large: bool = False
    operation: str = "receive"
    may_repeat: bool = True
    _pair: Pair = field(init=False)

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        self._pair = pair = Pair(places, chance, large=self.large)
        self._made = pair.second if self.is_delta else pair.whole
        if self.is_delta:
            pair.install_first(runner, and_extract=True)
        if self.lacks:
            for name in LACKING:
                (pair.target / name).write_bytes(b"changed by somebody")
        self._standing = tree_at(pair.target)
        pair.publish(pair.first, pair.second, pair.whole)
        if self.arrived:
            runner.run(pair.work(self._send_a_part))

    def _send_a_part(self, pair: Pair, conversation: Conversation, tell: Tell) -> None:
        """By hand, for no sender stops there by itself: the line is cut in the middle of the payload."""
        hello = conversation.hello("hq")
        conversation.push_metadata("zone", pair.publisher.files_for("zone", hello.trust or {}))
        revision = self._made.manifest.revision
        if self._made.index.recipe is None:
            conversation.put_manifest(manifest_target("zone", revision), self._made.manifest_bytes)
        with conversation._request() as line:
            target = ted_target("zone", revision, self._made.file)
            line.say({"type": "put", "target": target, "index": len(self._made.index_bytes), "payload": self._made.index.payload})
            line.data(self._made.index_bytes)
            line.reply("ready")
            line.data(self._made.payload[: self.arrived])
            line.write(data_header(1000))

    def work(self, places: Places) -> Work:
        return self._pair.work(lambda p, c, t: p.send(c, t, self._made))

    def check(self, places: Places, after: After) -> None:
        self._pair.check_held(after)
        must(tree_at(self._pair.target) == self._standing, "a receive changed what is extracted")

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        told = self._pair.run(runner, lambda p, c, t: p.send(c, t, self._made))
        must({"stored": "1.2"} in told, "the repetition doesn't say that 1.2 is stored")
        self._pair.run(runner, lambda p, c, _: must(str(c.hello("hq").of("zone").held) == "1.2", "1.2 isn't held"))

    def settled(self, places: Places) -> object:
        self._pair.check_held(After([{"stored": "1.2"}], was_cut=False))
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        return files_at(self._pair.agent, without=("status.json",)), sorted(self._pair.held.status().received)


@dataclass
class Extracting:
    """An extraction of 1.2, first or over 1.1; ``fails``: its post action does, so that all is taken back; ``lacks``: it was lent some."""

    name: str
    is_first: bool = False
    has_actions: bool = False
    fails: bool = False
    acknowledges: bool = True
    """Whether the sender says that it has the receipt; else it has to stay."""
    max_revisions: int = 10
    lacks: bool = False
    synchronize: Synchronize = Synchronize.NO
    operation: str = "extract"
    may_repeat: bool = True
    _pair: Pair = field(init=False)

    def prepare(self, places: Places, chance: Random, runner: Runner) -> None:
        self._pair = pair = Pair(
            places, chance, large=chance.random() < 0.2, max_revisions=self.max_revisions, synchronize=self.synchronize
        )
        if not self.is_first:
            pair.install_first(runner, and_extract=True)
            (pair.target / FOREIGN).write_text("mine")
        for name in LACKING if self.lacks else ():
            (pair.target / name).write_bytes(b"changed by somebody")
        pair.publish(pair.first, pair.second, pair.whole)
        self._made = pair.whole if self.is_first or self.max_revisions == 1 else pair.second
        pair.run(runner, lambda p, c, t: p.send(c, t, self._made))
        self._old = tree_at(pair.target)
        self._new: dict[str, tuple[object, ...]] | None = None

    def _actions(self) -> tuple[Sequence[Action], Sequence[Action]]:
        log = self._pair.log
        pre = [shell(f"echo pre >>{log}", f"echo undo-pre >>{log}")] if self.has_actions else []
        post = [shell(f"echo post >>{log}", f"echo undo-post >>{log}")] if self.has_actions else []
        if self.fails:
            post.append(shell(f"echo fails >>{log}; exit 7", f"echo undo-fails >>{log}"))
        return pre, post

    def work(self, places: Places) -> Work:
        pre, post = self._actions()
        return self._pair.work(lambda p, c, t: p.order(c, t, self._made, pre, post, acknowledges=self.acknowledges))

    def check(self, places: Places, after: After) -> None:
        """A reader sees the old or the new at every path; a receipt that was told is true and remembered."""
        pair = self._pair
        pair.check_held(After([], after.was_cut))
        old, new = kinds_and_contents(self._old), kinds_and_contents(tree_at(self._pair.places.outside / "source"))
        found = kinds_and_contents(tree_at(pair.target))
        for name in old.keys() | new.keys() | found.keys():
            if self.is_first and not found:
                break
            is_kept = name == FOREIGN and self.synchronize is not Synchronize.MIRROR
            new_one = old.get(name) if is_kept else new.get(name)
            must(found.get(name) in (old.get(name), new_one), f"{name} is neither the old nor the new")
        sworn = [each for each in after.told if "receipt" in each and not each.get("was_stored")]
        for number in self._kept(after.told):
            places_of_it = (pair.held.receipts / f"{number}.json", pair.held.journal / "receipt")
            must(any(path.exists() for path in places_of_it), f"receipt {number} was told and is gone")
        for each in sworn:
            must(self._sequence() >= each["receipt"], "an order was accepted and its number is forgotten")
            if each["outcome"] == Outcome.INSTALLED:
                must(tree_at(pair.target) == self._new, "a receipt says that 1.2 is installed; it isn't")

    def _kept(self, told: Told) -> set[int]:
        """Numbers of receipts that were told, and that nobody said to have."""
        return {each["receipt"] for each in told if "receipt" in each} - {each["acknowledged"] for each in told if "acknowledged" in each}

    def _sequence(self) -> int:
        marks = json.loads((self._pair.agent / "distributors/hq/high-water.json").read_bytes())
        return int(marks["sequences"].get("zone", 0))

    def recover(self, places: Places, runner: Runner, after: After) -> None:
        """The next start ends what was begun: all old or all new, as it then says. The next order brings the new."""
        pair = self._pair
        told = pair.run(runner, self._ask)
        missing = self._kept(after.told) - set(told[-1]["receipts"])
        must(not missing, f"receipts {missing} were told and aren't offered again")
        is_new = told[-1]["extracted"] == "1.2"
        found = tree_at(pair.target)
        must(found == (self._new if is_new else self._old), f"after the recovery the tree isn't the {'new' if is_new else 'old'} one")
        must(not leftovers(places.live), f"left over after the recovery: {leftovers(places.live)}")
        is_undone = not any(each.get("code") == UndoFailedError.__name__ for each in after.told)
        if self.has_actions and is_undone and after.is_first and not after.was_cut:
            self._check_log(is_new)
        pre, post = self._actions()
        told = pair.run(runner, lambda p, c, t: p.order(c, t, self._made, pre, post))
        sworn = [each for each in told if "receipt" in each]
        wanted = {Outcome.FAILED.value} if self.fails else {Outcome.INSTALLED.value, Outcome.ALREADY_INSTALLED.value}
        must((sworn and sworn[-1]["outcome"] in wanted) or is_new, f"the repetition ends with {sworn}")

    def _ask(self, pair: Pair, conversation: Conversation, tell: Tell) -> None:
        """What a check does: nothing changes by it but what the next start does anyway."""
        extracted = conversation.hello("hq").of("zone").extracted
        receipts = [pair.publisher.open_receipt(each, subscriber="oslo").sequence for each in conversation.receipts("zone")]
        tell(extracted=str(extracted), receipts=receipts)

    def _check_log(self, is_new: bool) -> None:
        log = self._pair.log
        said = log.read_text().split() if log.exists() else []
        for word in ("pre", "post", "fails"):
            done, undone = said.count(word), said.count(f"undo-{word}")
            must(is_new or undone >= done, f"{word} was done and not undone: {said}")
            must(not is_new or (done == 1 and not undone) or word == "fails", f"{word} of what is installed: {said}")

    def settled(self, places: Places) -> object:
        pair = self._pair
        found, status = tree_at(pair.target), pair.held.status()
        must(not leftovers(places.live), f"left over: {leftovers(places.live)}")
        must(self.fails or not list(pair.held.directory.rglob(f"{SUPPLEMENT_PREFIX}*")), "what was lent is still there")
        if self.fails:
            must(found == self._old, "what failed wasn't taken back")
        else:
            self._check_new(found)
            self._new = found
        manifest = pair.held.manifest_path
        return (
            found,
            status.extracted and status.extracted.revision,
            sorted(status.received),
            manifest.read_bytes() if manifest.exists() else b"",
            sorted(files_at(pair.held.directory / "revisions")),
        )

    def _check_new(self, found: dict[str, tuple[object, ...]]) -> None:
        """The tree is what the source is, but for what others put there and for what the revision before had."""
        source = tree_at(self._pair.places.outside / "source")
        wrong = [name for name, entry in source.items() if found.get(name) != entry]
        must(not wrong, f"not as at the source: {wrong}")
        if self.synchronize is not Synchronize.NO:
            more = found.keys() - source.keys() - ({FOREIGN} if self.synchronize is Synchronize.YES else set())
            must(not more, f"the source lacks it, and it wasn't removed: {sorted(more)}")


def subscriber_cases() -> list[Receiving | Extracting]:
    """Every situation of receive and extract."""
    return [
        Receiving("first"),
        Receiving("large", large=True),
        Receiving("delta", is_delta=True),
        Receiving("delta-large", is_delta=True, large=True, arrived=1_700_000),
        Receiving("lent", is_delta=True, lacks=True),
        Receiving("resumed", large=True, arrived=1_700_000),
        Extracting("first", is_first=True),
        Extracting("delta", acknowledges=False),
        Extracting("actions", has_actions=True),
        Extracting("failing", has_actions=True, fails=True),
        Extracting("cleaned", max_revisions=1),
        Extracting("lent", lacks=True),
        Extracting("synchronize", synchronize=Synchronize.YES),
        Extracting("mirror", synchronize=Synchronize.MIRROR),
        Extracting("mirror-failing", synchronize=Synchronize.MIRROR, has_actions=True, fails=True),
    ]

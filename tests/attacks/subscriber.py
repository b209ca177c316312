"""The Subscriber as victim: a real agent over pipes, with a genuine past, attacked by whoever speaks to it or writes beside it.

In the beginning ``oslo`` has extracted 1.1, holds 1.2, and knows of 1.3, which it lacks; ``hq`` has signed 1.4 since. The judge compares
the whole sandbox before and after, what the agent believes, and what it took; then a genuine send and extraction must work.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from blake3 import blake3

from agents.init import trust
from sluice.formats.canonical import canonical_bytes
from sluice.model.order import Order
from sluice.trust.envelope import ORDER_WORD, Envelope, seal
from sluice.trust.keys import load_private_key
from sluice.trust.publish import Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target
from tests.agents.workbench import Workbench
from tests.attacks.case import Case, said
from tests.attacks.forked import Born, Nursery
from tests.attacks.sandbox import Listing, Sandbox, changes, listing
from tests.attacks.talk import Talk
from tests.subscriber.revisions import Made, make, tree_of

NOW = datetime.now(UTC).replace(microsecond=0)
"""One time for all cases, so that two that do the same send the same bytes."""
DAY = timedelta(days=1)
PEAK = 200_000_000
"""Most bytes of memory of an agent, whatever it is sent: a message of 16 MiB with one wide character takes 150 MB, as Python keeps it."""
WRITTEN = 64 * 1024 * 1024
READ = 192 * 1024 * 1024
"""Most bytes that all its calls write and read, its own start included."""
QUARANTINE = 512 * 1024
"""Most bytes kept of one refusal, as JSON."""


class Subscriber:
    """The world of one case."""

    def __init__(self, top: Path, nursery: Nursery) -> None:
        self.top, self._nursery = top, nursery
        self.sandbox = Sandbox(top, self._make)
        self._start()

    def _make(self, top: Path) -> None:
        self.bench = Workbench(top)
        self.bench.publisher.ensure_keys(NOW)
        source = top / "source"
        (source / "sub").mkdir(parents=True)
        self.made: list[Made] = []
        for number in range(1, 5):
            (source / "a").write_text(f"a of {number}")
            (source / "sub/b").write_bytes(bytes([number]) * 3000)
            (source / f"new-{number}").write_text("new")
            self.made.append(make(f"1.{number}", source))
        self.target = top / "target"
        self.other, self.stranger = (Publisher(top / name, distributor=of) for name, of in (("other", "other"), ("stranger", "hq")))
        for publisher in (self.other, self.stranger):
            publisher.ensure_keys(NOW)
            publisher.publish(lambda: {"zone": self.listing(*self.made)}, now=NOW, longest_interval=DAY)
        trust(self.bench.work, "other", self.other.root())
        self.sent = blake3()
        self.sequence = 0
        self.files: list[dict[str, bytes]] = []
        self._sign(self.made[0])
        with_first = self.talk()
        assert [with_first.push(self.files[0]), with_first.send(self.made[0])] == ["accepted", "stored"]
        self.first_order = self.order(self.made[0])
        reply = with_first.ask(type="order", envelope=self.first_order)
        assert said(reply) == "installed", reply
        self.first_receipt = reply["envelope"]
        assert with_first.ask(type="acknowledge", distribution="zone", sequence=1)["type"] == "done"
        self._sign(*self.made[:3])
        assert [with_first.push(self.files[1]), with_first.send(self.made[1])] == ["accepted", "stored"]
        self._sign(*self.made)
        with_first.born.end()

    def _sign(self, *made: Made) -> None:
        self.bench.publisher.publish(lambda: {"zone": self.listing(*made)}, now=NOW, longest_interval=DAY)
        self.files.append(self.bench.publisher.files_for("zone", {"root": 1}))

    @staticmethod
    def listing(*made: Made) -> dict[str, Target]:
        """What signing these lists."""
        found = {}
        for each in made:
            revision = each.manifest.revision
            found[manifest_target("zone", revision)] = Target.of(each.manifest_bytes)
            found[ted_target("zone", revision, each.file)] = Target.of(each.index_bytes)
        return found

    def fresh(self) -> None:
        """As in the beginning, for the next case."""
        self.sandbox.restore()
        self._start()

    def _start(self) -> None:
        self.sent = blake3()
        self.sequence = 1
        self.born: list[Born] = []
        self._marked: Listing | None = None
        self._believed: Any = None

    # --- what builders use

    def talk(self, distributor: str = "hq") -> Talk:
        """A conversation, greeted."""
        talk = self.silent()
        assert talk.hello(distributor)["type"] == "hello"
        return talk

    def silent(self) -> Talk:
        """A conversation in which nothing was said yet."""
        born = self._nursery.start(self.bench.work)
        if hasattr(self, "born"):
            self.born.append(born)
        return Talk(born, self.sent)

    def key(self, name: str) -> Any:
        """A private key that an attacker may have stolen: ``hq/root``, ``other/online``, ..., and the Subscriber's own: ``receipt``."""
        if name == "receipt":
            return load_private_key(self.bench.work / "identity/receipt.pem")
        whose, _, which = name.partition("/")
        return load_private_key(self.top / whose / "keys" / f"{which}.pem")

    def genuine(self, made: Made, **changed: Any) -> Order:
        """The next order, or one that differs from it."""
        self.sequence += 1
        destinations = (str(self.target),)
        order = Order("hq", "oslo", self.sequence, NOW, NOW + DAY / 24, "zone", made.manifest.revision, destinations, (), ())
        return replace(order, **changed)

    def order(self, made: Made, **changed: Any) -> Envelope:
        """Signed by ``hq``."""
        return self.bench.publisher.sign_order(self.genuine(made, **changed))

    def order_by(
        self, key: str, made: Made, *, named: str = "", word: bytes = ORDER_WORD, payload: bytes = b"", **changed: Any
    ) -> Envelope:
        """Signed by another key, which may say that it is ``named``."""
        private = self.key(key)
        true = self.order(made, **changed)
        from securesystemslib.signer import SSlibKey

        name = self.key(named or key)
        return seal(word, payload or true["payload"].encode(), key=SSlibKey.from_crypto(name.public_key()).keyid, sign=private.sign)

    def sign_also(self, listing: Mapping[str, bytes]) -> Talk:
        """What somebody with the online key signs of ``zone`` besides, accepted by the agent: the attack begins after that."""
        targets = {path: Target.of(data) for path, data in listing.items()}
        publisher = self.bench.publisher
        publisher.publish(lambda: {"zone": {**self.listing(*self.made), **targets}}, now=NOW, longest_interval=DAY)
        self.files.append(publisher.files_for("zone", {"root": 1}))
        talk = self.talk()
        assert talk.push(self.files[-1]) == "accepted"
        self.mark()
        return talk

    def receive(self, made: Made) -> Talk:
        """A revision signed and held besides: the attack begins after that."""
        file = ted_target("zone", made.manifest.revision, made.file)
        talk = self.sign_also({manifest_target("zone", made.manifest.revision): made.manifest_bytes, file: made.index_bytes})
        assert talk.send(made) == "stored"
        self.mark()
        return talk

    def anew(self) -> Talk:
        """A conversation with an agent whose metadata was wiped: every role must come, and none is passed over as held."""
        for path in (self.hq / "trust/metadata").rglob("*.json"):
            path.unlink()
        self.mark()
        return self.talk()

    @property
    def hq(self) -> Path:
        """What the Subscriber keeps of ``hq``."""
        return self.bench.work / "distributors/hq"

    def mark(self) -> None:
        """From here on nothing may be accepted."""
        self._marked, self._believed = self._listing(), self._beliefs()

    def baited(self) -> Listing:
        """The bait alone, but for how many names its files have: those are whoever's who made them."""
        return {path: (*what[:5], *what[6:]) for path, what in listing(self.top / "bait").items()}

    def apart_from(self, *tops: str) -> Listing:
        """The sandbox without some of its directories."""
        return listing(self.top, without=lambda path: path.partition("/")[0] in tops)

    # --- the judge

    def judge(self, case: Case[Subscriber]) -> None:
        """Carry out a case and see that it came to nothing."""
        self.mark()
        answer = case.attack(self)
        assert answer in case.answers, answer
        if case.is_control:
            return
        assert self._marked is not None
        assert changes(self._marked, self._listing()) == {}
        self._judge_beliefs()
        assert all(path.stat().st_size <= QUARANTINE for path in self.hq.glob("quarantine/*"))
        self._works()
        self._measure()

    def evidence(self) -> str:
        """Tells two attacks apart: what was sent, what lies around, and what was believed before."""
        total = blake3(self.sent.digest())
        for key in ("extracted", "received", "receipts"):
            total.update(str(sorted((self._believed or {}).get(key) or ())).encode())
        for path, what in sorted((self._marked or {}).items()):
            if not path.startswith(("hq/", "subscriber/agent")):
                total.update(f"{path} {[each for each in what if not isinstance(each, int) or each < 2**40]}".encode())
        return total.hexdigest()

    def end(self) -> None:
        """No agent of this case runs on."""
        for born in self.born:
            born.kill()

    def _listing(self) -> Listing:
        return listing(self.top, without=self._may_change)

    def _may_change(self, path: str) -> bool:
        of_hq = path.removeprefix("subscriber/distributors/hq/")
        if of_hq == path:
            return path.startswith("subscriber/") and (path.endswith("/lock") or "/quarantine" in path)
        # What is judged by itself: marks and status as beliefs, receipts by their outcome; blocks that arrive are nobody's yet.
        zone = of_hq.removeprefix("distributions/zone/")
        judged = zone.partition("/")[0] in ("status.json", "receipts", "receiving", "lock") or zone.endswith(("/distfile.ted", ".corrupt"))
        return of_hq in ("high-water.json", "lock") or of_hq.startswith("quarantine") or judged

    def _beliefs(self) -> dict[str, Any]:
        """Marks, what is held, what is extracted, and the receipts. Orders may be counted, because one that fails is spent."""
        status = self.bench.held / "status.json"
        believed = json.loads(status.read_bytes()) if status.exists() else {}
        return {
            "marks": json.loads((self.hq / "high-water.json").read_bytes())["versions"],
            "extracted": believed.get("extracted"),
            "received": believed.get("received") or {},
            "receipts": {path.name: path.read_bytes() for path in (self.bench.held / "receipts").glob("*.json")},
        }

    def _judge_beliefs(self) -> None:
        """Nothing more is held, what is found damaged may be less; receipts stay, and new ones tell of failures."""
        before, after = self._believed, self._beliefs()
        assert (after["marks"], after["extracted"]) == (before["marks"], before["extracted"])
        assert after["received"].items() <= {**before["received"]}.items()
        assert before["receipts"].items() <= after["receipts"].items()
        for name in after["receipts"].keys() - before["receipts"].keys():
            payload = json.loads(json.loads(after["receipts"][name])["payload"])
            assert payload["outcome"] == "failed", payload

    def _works(self) -> None:
        """A genuine update, and an extraction elsewhere."""
        alive = next((born for born in reversed(self.born) if not born.stdin.closed), None)
        talk = Talk(alive, blake3()) if alive else self.talk()
        if alive is None or not self._answers(talk):
            talk = self.talk()
        newest = self.made[3]
        assert [talk.push(self.files[-1]), talk.send(newest)] in (["accepted", "stored"], ["accepted", "held"])
        sequences = json.loads((self.hq / "high-water.json").read_bytes())["sequences"]
        elsewhere = self.top / "elsewhere"
        order = self.order(newest, destinations=(str(elsewhere),), sequence=max(sequences.get("zone", 0), self.sequence) + 1)
        assert talk.order(order) == "installed"
        assert tree_of(elsewhere) == tree_of(self.top / "source")
        assert [str(path) for path in self.bench.work.rglob(".tmp-*")] == []

    @staticmethod
    def _answers(talk: Talk) -> bool:
        try:
            return talk.hello()["type"] == "hello"
        except AssertionError:  # it ended the conversation: no frame comes any more
            return False

    def _measure(self) -> None:
        for born in self.born:
            took = born.end()
            assert took.status in (0, 7), born.said
            assert took.peak <= PEAK, took
            assert took.read <= READ, took
            assert took.written <= WRITTEN, took


def hostile_manifest(world: Subscriber, lines: list[str], *, revision: str = "1.5", entries: int | None = None, **header: Any) -> bytes:
    """A manifest whose lines an author chose freely; its header is right but for what is changed."""
    true = world.made[3].manifest_bytes.partition(b"\n")[0]
    value = json.loads(true)
    value["revision"] = revision
    value["destinations"][0]["entries"] = len(lines) if entries is None else entries
    value |= header
    return canonical_bytes(value) + b"\n" + "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogatepass")

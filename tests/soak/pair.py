"""A Distributor and a Subscriber with the agent as it is, over its pipes, and a sender that speaks to it as a Distributor does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from blake3 import blake3

import agents.extraction
import agents.requests
import agents.serve  # noqa: F401 - these three are imported late by an agent; forks of this process have them already
from agents.init import init, trust
from agents.main import main
from sluice.errors import SluiceError, TransportError
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.ted.file import MAGIC, trailer, verify_payload
from sluice.model.action import Action
from sluice.model.order import Order, Outcome
from sluice.model.revision import RevisionNumber
from sluice.model.site import Synchronize
from sluice.ports import TedFile
from sluice.sender.conversation import Conversation
from sluice.subscriber.held.directory import TED, DistributionDirectory
from sluice.trust.publish import Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target
from sluice.trust.verify import TrustDirectory
from tests.end_to_end.deltas import delta, lent
from tests.soak.case import After, Places, must
from tests.soak.process import PipeStream, Tell
from tests.soak.running import Runner, Told, Work
from tests.soak.trees import LARGE, change_tree, first_tree
from tests.subscriber.revisions import Made, make

DAY = timedelta(days=1)
OVER = (TransportError, OSError)
"""How a conversation ends whose agent was killed."""


class Pair:
    """Distributor ``hq`` with revisions 1.1 and 1.2 of ``zone``, and its Subscriber ``oslo``. ``second`` is 1.2 as a delta."""

    def __init__(
        self,
        places: Places,
        chance: Random,
        *,
        large: bool,
        verify: bool = False,
        max_revisions: int = 10,
        synchronize: Synchronize = Synchronize.NO,
    ) -> None:
        self.places = places
        self.agent = places.live / "agent"
        self.target = places.live / "zone"
        self.log = places.live / "log"
        source = places.outside / "source"
        first_tree(source, chance, large=large)
        options: dict[str, Any] = {"max_revisions": max_revisions, "verify": verify, "synchronize": synchronize.value}
        self.first = make("1.1", source, **options)
        change_tree(source, chance)
        if large:
            (source / "large").write_bytes(chance.randbytes(LARGE) + (source / "large").read_bytes()[:LARGE])
        self.whole = make("1.2", source, **options)
        self.second = delta(self.whole, self.first)
        self.publisher = Publisher(places.outside / "hq", distributor="hq")
        now = datetime.now(UTC)
        self.publisher.ensure_keys(now)
        self.agent.mkdir(mode=0o700)
        self.publisher.keep_subscriber_key("oslo", init(self.agent, "oslo"))
        trust(self.agent, "hq", self.publisher.root())
        self.publish(self.first)
        self.was_trusting = False
        for each in (self.first, self.second, self.whole):
            (places.outside / str(each.manifest.revision)).mkdir(exist_ok=True)
            each.ted_file(places.outside / str(each.manifest.revision))

    def publish(self, *made: Made) -> None:
        """Sign these as all that can be sent."""
        listing = {}
        for each in made:
            revision = each.manifest.revision
            listing[manifest_target("zone", revision)] = Target.of(each.manifest_bytes)
            listing[ted_target("zone", revision, each.file)] = Target.of(each.index_bytes)
        self.publisher.publish(lambda: {"zone": listing}, now=datetime.now(UTC), longest_interval=DAY)

    def install_first(self, runner: Runner, *, and_extract: bool) -> None:
        """Have 1.1 held there, and perhaps extracted; then 1.2 is published."""
        self.run(runner, lambda p, c, t: p.send(c, t, p.first))
        if and_extract:
            self.run(runner, lambda p, c, t: p.order(c, t, p.first, (), ()))
        self.was_trusting = True

    @property
    def held(self) -> DistributionDirectory:
        return DistributionDirectory(self.agent / "distributors/hq/distributions/zone")

    def work(self, talk: Talk) -> Work:
        """A conversation; how it ends where the agent is killed is no failure of the sender's."""

        def peer(stream: PipeStream, tell: Tell) -> None:
            conversation = Conversation(stream, who="oslo")
            try:
                talk(self, conversation, tell)
            except OVER:
                tell(over=True)
            except SluiceError as error:
                tell(error=error.code, message=error.message)
            finally:
                conversation.close()

        return Work(lambda _: main(["serve", "--directory", str(self.agent)]), peer)

    def run(self, runner: Runner, talk: Talk) -> Told:
        """The same undisturbed: it must go well."""
        ended = runner.run(self.work(talk))
        errors = [each for each in ended.told if "error" in each or "over" in each]
        must(ended.code == 0 and not errors, f"undisturbed, the agent ends with {ended.code}, {errors}: {ended.said}")
        return ended.told

    def send(self, conversation: Conversation, tell: Tell, made: Made) -> None:
        """What a send does of which the agent lacks something."""
        hello = conversation.hello("hq")
        if dict(hello.trust or {}) != self.publisher.versions():
            tell(accepted=dict(conversation.push_metadata("zone", self.publisher.files_for("zone", hello.trust or {}))))
        if hello.of("zone").held == made.manifest.revision:
            tell(stored=str(made.manifest.revision))
            return
        revision = made.manifest.revision
        if made.index.recipe is None:
            conversation.put_manifest(manifest_target("zone", revision), made.manifest_bytes)
            tell(manifest=str(revision))
        conversation.put_ted(ted_target("zone", revision, made.file), made.ted_file(self.places.outside / str(revision)))
        if made.index.recipe is not None:
            self._complete(conversation, tell, revision)
        tell(stored=str(revision))

    def _complete(self, conversation: Conversation, tell: Tell, revision: RevisionNumber) -> None:
        """Until nothing lacks; what lacks is lent, once."""
        if lacks := conversation.complete(f"zone/{revision}"):
            contents = {**self.first.contents, **self.whole.contents}
            payload, index, data = lent([contents[digest] for digest in lacks])
            path = self.places.outside / "lent"
            path.write_bytes(MAGIC + payload + trailer(data))
            conversation.put_supplement(f"zone/{revision}", lacks, TedFile(revision, None, str(path), "", data, index.payload))
            tell(lent=len(lacks))
            must(not conversation.complete(f"zone/{revision}"), "it lacks what it was lent")

    def order(
        self,
        conversation: Conversation,
        tell: Tell,
        made: Made,
        pre: Sequence[Action],
        post: Sequence[Action],
        *,
        acknowledges: bool = True,
    ) -> None:
        """What a Distributor does: what was sworn meanwhile first, then an order above the last number."""
        there = conversation.hello("hq").of("zone")
        tell(hello=str(there.extracted), sequence=there.sequence)
        for envelope in conversation.receipts("zone"):
            receipt = self.publisher.open_receipt(envelope, subscriber="oslo")
            tell(receipt=receipt.sequence, outcome=receipt.outcome.value, was_stored=True)
            tell(acknowledged=receipt.sequence)
            conversation.acknowledge("zone", receipt.sequence)
            if receipt.outcome in (Outcome.INSTALLED, Outcome.ALREADY_INSTALLED) and there.extracted == made.manifest.revision:
                return
        now, revision = datetime.now(UTC), made.manifest.revision
        destinations = (str(self.target),)
        order = Order("hq", "oslo", there.sequence + 1, now, now + DAY, "zone", revision, destinations, tuple(pre), tuple(post))
        receipt = self.publisher.open_receipt(conversation.order(self.publisher.sign_order(order)), subscriber="oslo")
        tell(receipt=receipt.sequence, outcome=receipt.outcome.value, code=receipt.failure.code if receipt.failure else "")
        if acknowledges:
            tell(acknowledged=receipt.sequence)  # that it is kept elsewhere: from here on the agent may forget it
            conversation.acknowledge("zone", receipt.sequence)

    def check_held(self, after: After) -> None:
        """What the Subscriber holds is whole and believed, and so is all that was confirmed."""
        held = self.held
        try:
            status = held.status()
            for name, record in status.received.items():
                place = held.directory / "revisions" / name
                if not place.exists():
                    continue
                data = (place / "manifest").read_bytes()
                must(blake3(data).hexdigest() == record.manifest, f"the manifest of {name} isn't the one received")
                must(str(parse_manifest(data).revision) == name, f"the manifest of {name} is another's")
                must(data in (self.first.manifest_bytes, self.second.manifest_bytes), f"the manifest of {name} isn't the signed one")
                if not record.cleaned:
                    verify_payload(place / TED)
            newest = held.newest_held(status)
            directory = TrustDirectory(self.agent / "distributors/hq", distributor="hq")
            versions = directory.versions()
            if self.was_trusting or any("accepted" in each for each in after.told):
                directory.view("zone", now=datetime.now(UTC))
        except (SluiceError, OSError) as error:
            must(False, f"what is held can't be read: {type(error).__name__}: {error}")
        for each in after.told:
            if "stored" in each:
                must(newest is not None and str(newest) >= each["stored"], f"{each['stored']} was stored and isn't held")
            if "accepted" in each:
                lost = {role for role, version in each["accepted"].items() if versions.get(role, 0) < version}
                must(not lost, f"metadata was accepted and is gone: {lost}")


Talk = Callable[[Pair, Conversation, Tell], None]

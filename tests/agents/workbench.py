"""A Distributor and an agent as a child process, with nothing else between them: what a sender does, step by step."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from agents.init import init, trust
from infra.transports.local import LocalTransport
from sluice.model.action import Action
from sluice.model.order import Order, Receipt
from sluice.model.site import Address, Subscriber
from sluice.operations.conversation import AgentEvent, Conversation
from sluice.trust.envelope import Envelope
from sluice.trust.publish import Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target
from tests.operations.revisions import Made

PROJECT = Path(__file__).parents[2]


class Workbench:
    """Distributor ``hq`` and Subscriber ``oslo``, trusted and bootstrapped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "subscriber"
        self.work.mkdir(mode=0o700)
        self.publisher = Publisher(directory / "hq", distributor="hq")
        self.publisher.ensure_keys(datetime.now(UTC))
        self.publisher.keep_subscriber_key("oslo", init(self.work, "oslo"))
        trust(self.work, "hq", self.publisher.root())
        launcher = self.work / "agent" / "sluice-agent"
        launcher.parent.mkdir()
        call = f'{sys.executable} -W error -c "import sys; from agents.main import main; sys.exit(main())"'
        launcher.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {call} "$@"\n')
        launcher.chmod(0o700)
        self.launcher = launcher
        self.sequence = 0

    @property
    def held(self) -> Path:
        return self.work / "distributors" / "hq" / "distributions" / "zone"

    def connect(self) -> Conversation:
        address = Address("local", path=str(self.work))
        subscriber = Subscriber("oslo", address, PurePosixPath(self.work))
        conversation = Conversation(LocalTransport().connect(subscriber, timeout=30), who="oslo")
        conversation.hello("hq")
        return conversation

    def publish(self, *made: Made) -> None:
        """Sign these revisions as all that can be sent."""
        listing = {}
        for each in made:
            name, revision = each.manifest.distribution, each.manifest.revision
            listing[manifest_target(name, revision)] = Target.of(each.manifest_bytes)
            listing[ted_target(name, revision, each.file)] = Target.of(each.index_bytes)
        self.publisher.publish(lambda: {"zone": listing}, now=datetime.now(UTC), longest_interval=timedelta(days=1))

    def push_metadata(self, conversation: Conversation) -> None:
        conversation.push_metadata("zone", self.publisher.files_for("zone", {}))

    def send(self, conversation: Conversation, made: Made) -> None:
        """Publish and send one revision."""
        self.publish(made)
        self.push_metadata(conversation)
        conversation.put_manifest(manifest_target("zone", made.manifest.revision), made.manifest_bytes)
        conversation.put_ted(ted_target("zone", made.manifest.revision, made.file), made.ted_file(self.directory))

    def order(self, made: Made, *destinations: Path, pre: tuple[Action, ...] = (), post: tuple[Action, ...] = ()) -> Envelope:
        self.sequence += 1
        now = datetime.now(UTC)
        revision = made.manifest.revision
        texts = tuple(map(str, destinations))
        return self.publisher.sign_order(
            Order("hq", "oslo", self.sequence, now, now + timedelta(hours=1), "zone", revision, texts, pre, post)
        )

    def extract(self, conversation: Conversation, envelope: Envelope, events: list[AgentEvent] | None = None) -> Receipt:
        found = conversation.order(envelope, None if events is None else events.append)
        return self.publisher.open_receipt(found, subscriber="oslo")

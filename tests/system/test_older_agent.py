"""An agent of an earlier version (F10): refused before anything is sent where it lacks what is needed, and used where it doesn't.

``older_agent.zip`` is what an agent was made of before there were actions other than scripts:
``git archive --format=zip -9 69956d4 agents sluice infra`` without ``sluice/blueprint`` and what of ``infra`` isn't the file system.
It lies here because a shallow clone has no history.
"""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

import pytest
from blake3 import blake3

from infra.hosts.bootstrap import Act, bootstrap
from infra.hosts.check import check
from infra.hosts.host_program import write_launcher
from infra.ledger.sql import open_ledger
from infra.store.files import FileStore
from infra.transports.address import AddressTransport
from sluice.distributor.build.sign import sign
from sluice.distributor.deliver.orders import Orders
from sluice.errors import AgentVersionError
from sluice.model.action import Action, Script, ScriptType, StartProcess
from sluice.model.assignment import Assignment
from sluice.model.locked import Locked
from sluice.model.manifest import Destination, Entry, EntryKind, Manifest
from sluice.model.recipe import RenderedRecipe
from sluice.model.revision import RevisionNumber
from sluice.model.site import Address, Distribution, DistributionType, Subscriber
from sluice.rules.features import needed_features
from sluice.sender.transfer import Sender, Transfer
from sluice.trust.publish import Publisher
from tests.distributor.context import context_of

OLDER = Path(__file__).with_name("older_agent.zip")
OLDER_DIGEST = "0" * 64
STARTS = StartProcess("/bin/true", wait=True)

pytestmark = pytest.mark.timeout(360)


@dataclass
class Route:
    """A Distributor ``hq`` and a bootstrapped Subscriber ``here`` on this machine."""

    directory: Path
    bundles: Path

    def __post_init__(self) -> None:
        self.subscriber = Subscriber("here", Address("local", path=str(self.directory)), PurePosixPath(self.directory / "subscriber"))
        self.transport = AddressTransport(self.directory)
        self.store = FileStore(self.directory / "hq")
        self.publisher = Publisher(self.directory / "hq", distributor="hq")
        self.publisher.ensure_keys(datetime.now(UTC))
        self.ledger = open_ledger(self.directory / "hq" / "ledger.db")
        self.target = self.directory / "zone"

    def bootstrap(self) -> list[Act]:
        done = bootstrap(self.subscriber, {"hq": self.publisher}, transport=self.transport, bundles=self.bundles, timeout=60)
        return [step.act for step in done.steps]

    def make_older(self) -> None:
        """The agent that is installed becomes the earlier version, with the packages it has."""
        agent = Path(self.subscriber.working_directory) / "agent"
        (installed,) = [path for path in agent.iterdir() if path.is_dir()]
        shutil.copytree(installed, agent / OLDER_DIGEST)
        library = agent / OLDER_DIGEST / "lib"
        for ours in ("sluice", "agents", "infra"):
            shutil.rmtree(library / ours)
        with zipfile.ZipFile(OLDER) as archive:
            archive.extractall(library)
        write_launcher(str(agent), OLDER_DIGEST)

    def build(self, revision: str, *actions: Action) -> Distribution:
        number, data = RevisionNumber.parse(revision), revision.encode()
        digest = blake3(data).hexdigest()
        entries = (Entry(EntryKind.DIRECTORY, "", 0o755, 0), Entry(EntryKind.FILE, "file", 0o644, 0, len(data), digest))
        with self.store.lock("zone") as draft:
            draft.put(digest, len(data), iter([data]))
            draft.add_revision(Manifest("zone", number, "file", (Destination("/zone", True, entries),), actions, ()), [None])
        self._sign("zone")
        return Distribution("zone", "hq", DistributionType.FILE, pre_actions=actions)

    def _sign(self, distribution: str) -> object:
        return sign([distribution], store=self.store, publisher=self.publisher, now=datetime.now(UTC), longest_interval=timedelta(days=1))

    def sending(self, revision: str, distribution: Distribution) -> Transfer:
        sender = Sender("hq", self.transport, self.store, self.publisher, self._sign, timeout=60)
        assignment = Assignment("here", "zone", RevisionNumber.parse(revision))
        return Transfer(sender, self.subscriber, assignment, needed_features(distribution, min_free=self.subscriber.min_free))

    def install(self, revision: str, distribution: Distribution, recipe: RenderedRecipe) -> str:
        """Send and extract; what the Subscriber swore."""
        sending = self.sending(revision, distribution)
        try:
            sending.call()
            sending.transfer()
            context = context_of(store=self.store, publisher=self.publisher, ledger=self.ledger)
            done = Orders(context, sending.called, sending.assignment, recipe).give()
        finally:
            sending.close()
        return str(done.receipt.failure or done.receipt.outcome)

    def features_item(self, distribution: Distribution) -> tuple[bool, str, str]:
        needs = {"hq": needed_features(distribution, min_free=0)}
        items = check(self.subscriber, {"hq": self.publisher}, transport=self.transport, bundles=self.bundles, timeout=60, needs=needs)
        (found,) = [item for item in items if item.item == "features for hq"]
        return found.ok, found.detail, found.remedy


@pytest.fixture
def route(tmp_path: Path, bundle_directory: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Route]:
    programs = tmp_path / "bin"  # a crontab of the test's own: the user's isn't touched
    programs.mkdir()
    (programs / "crontab").write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {tmp_path}/tab 2>/dev/null; else cat >{tmp_path}/tab; fi\n')
    (programs / "crontab").chmod(0o755)
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    made = Route(tmp_path, bundle_directory)
    yield made
    made.ledger.close()


def test_an_older_agent_gets_what_it_understands_and_nothing_else_until_it_is_bootstrapped(route: Route) -> None:
    route.bootstrap()
    route.make_older()
    script = Script(ScriptType.SHELL, "none", run=f"echo ran >>{route.directory}/log")

    scripts = route.build("1.1", script)
    assert route.features_item(scripts) == (True, "all that its Distributions need", "")
    assert route.install("1.1", scripts, RenderedRecipe((str(route.target),), (script,))) == "installed"
    assert (route.target / "file").read_text() == "1.1"
    assert (route.directory / "log").read_text() == "ran\n"

    starts = route.build("1.2", script, STARTS)
    recipe = RenderedRecipe((str(route.target),), (script, STARTS), locked=Locked(1, timedelta(seconds=1)), min_free=1)
    ok, detail, remedy = route.features_item(starts)
    assert (ok, remedy) == (False, "run: sluice subscriber bootstrap here")
    assert "start process" in detail
    sending = route.sending("1.2", starts)
    with pytest.raises(AgentVersionError, match="of Subscriber here can't do what zone needs: start process") as refused:
        sending.call()
    sending.close()
    assert (refused.value.retryable, refused.value.remedy) == (False, "run: sluice subscriber bootstrap here")
    assert not list(Path(route.subscriber.working_directory).rglob("1.2"))

    # What it holds already isn't ordered either, where the order would say what it can't do.
    with pytest.raises(AgentVersionError, match="locked, min free, start process"):
        route.install("1.1", scripts, recipe)
    assert (route.target / "file").read_text() == "1.1"

    assert route.bootstrap() == [Act.AGENT]
    assert route.install("1.2", starts, recipe) == "installed"
    assert (route.target / "file").read_text() == "1.2"

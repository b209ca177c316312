"""A site on disk with real store, trust, ledger and a real agent on one ``local:`` Subscriber, driven without Prefect."""

from __future__ import annotations

import os
import sys
from contextlib import closing
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from agents.init import init, trust
from cli.trust import make_keys
from infra.transports.local import LocalTransport
from infra.workplace import Workplace, workplace_in
from sluice.blueprint import load_site
from sluice.blueprint.render.recipe import recipe
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.distributor.deliver.delivery import Delivery
from sluice.distributor.deliver.result import DeliveryResult
from sluice.distributor.deliver.sender import distributor_sender
from sluice.distributor.send_queue.watch import QueueWatch
from sluice.model.assignment import Assignment
from sluice.rules.features import needed_features
from sluice.sender.transfer import Transfer
from sluice.subscriber.held.directory import DistributionDirectory
from tests.agents.workbench import ForkedAgents

PROJECT = Path(__file__).parents[2]
HEAD = """\
kind: Distributor
name: hq
working_directory: var/hq
---
kind: Subscriber
name: s1
address: local:var/host
working_directory: var/host/sluice
---
kind: Channel
name: web
subscribers: [s1]
"""


class RealSite:
    """``hq``, ``s1`` and Channel ``web``; ``write`` adds the Distributions."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.host = directory / "var/host"
        self.write("")
        os.makedirs(self.host / "sluice/agent", mode=0o700)
        with self.work() as work:
            make_keys(work.distributor)
            work.publisher.keep_subscriber_key("s1", init(self.host / "sluice", "s1"))
            trust(self.host / "sluice", "hq", work.publisher.root())
        launcher = self.host / "sluice/agent/sluice-agent"
        call = f'{sys.executable} -W error -c "import sys; from agents.main import main; sys.exit(main())"'
        launcher.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {call} "$@"\n')
        launcher.chmod(0o700)

    def write(self, distributions: str) -> None:
        """Replace every Distribution of the site."""
        self.directory.mkdir(parents=True, exist_ok=True)
        (self.directory / "site.yaml").write_text(HEAD + distributions)

    def work(self) -> Workplace:
        """The workplace of the site as it is now."""
        return workplace_in(load_site(self.directory), "hq")

    def held(self, distribution: str) -> DistributionDirectory:
        """Its directory on the Subscriber."""
        return DistributionDirectory(self.host / "sluice/distributors/hq/distributions" / distribution)

    def build(self, distribution: str) -> None:
        """Build and sign it, whatever would be removed."""
        with self.work() as work:
            build_recorded(work, distribution, allow_removals=True)
            sign_recorded(work, (distribution,))

    def distribute(self, distribution: str, *, allow_removals: bool = False, extract: bool = True) -> DeliveryResult:
        """Build, sign, send and extract now, by the steps that the flow takes; a build may always remove. Or leave it unextracted."""
        self.build(distribution)
        with self.work() as work:
            site, subscriber, subject = work.site, work.site.subscriber("s1"), work.site.distribution(distribution)
            assignment = Assignment("s1", distribution, work.store.revisions(distribution)[-1], "web")
            needs = needed_features(subject, min_free=subscriber.min_free)
            make = partial(Transfer, distributor_sender(work), subscriber, assignment, needs)
            watch = QueueWatch("hq", None, ledger=work.ledger, clock=work.clock, lease_seconds=work.lease_seconds)
            watch.start()
            with closing(watch):
                rendered = replace(recipe(site, distribution, "s1"), allow_removals=allow_removals)
                delivery = Delivery(work, watch, assignment, make, rendered if extract else None)
                delivery.offer()
                assert delivery.enter() is None
                try:
                    if delivery.call():
                        assert delivery.transfer() is None
                    done = delivery.extract()
                finally:
                    delivery.end()
        assert done is not None
        return done


def forked_site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, **sources: str) -> RealSite:
    """A site that commands and flows find, whose agents are forked from this process; ``sources`` are the files of ``src``, by path with
    ``__`` for ``/``."""
    monkeypatch.setattr(LocalTransport, "connect", ForkedAgents.connect)
    monkeypatch.setenv("SLUICE_SITE", str(tmp_path / "site"))
    site = RealSite(tmp_path / "site")
    for name, text in sources.items():
        path = site.directory / "src" / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return site

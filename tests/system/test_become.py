"""A login without root that becomes root by sudo, against real sshd and sudo: bootstrap, check, owners, removal."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from infra.hosts.bootstrap import Bootstrapped, bootstrap
from infra.hosts.check import CheckItem, check
from infra.hosts.removal import remove_from_host
from infra.transports.address import AddressTransport
from sluice.errors import TrustError
from sluice.model.site import Ssh, Subscriber
from sluice.sender.call import call_agent
from sluice.trust.publish import Publisher
from tests.system.accounts import Account, account
from tests.system.sshd import lab


@dataclass
class Place:
    """A host that is reached as an account with sudo, and a Distributor."""

    account: Account
    subscriber: Subscriber
    publisher: Publisher
    bundles: Path
    transport: AddressTransport

    def bootstrap(self, subscriber: Subscriber) -> Bootstrapped:
        return bootstrap(subscriber, {"hq": self.publisher}, transport=self.transport, bundles=self.bundles, timeout=120)

    def check(self, subscriber: Subscriber) -> dict[str, CheckItem]:
        needs = {"hq": frozenset({"owner"})}
        found = check(subscriber, {"hq": self.publisher}, transport=self.transport, bundles=self.bundles, timeout=120, needs=needs)
        return {each.item: each for each in found}


@pytest.fixture
def place(
    as_root: None, tmp_path: Path, real_part: Callable[[str], Path], bundle_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Place]:
    real_part("sudo")
    publisher = Publisher(tmp_path / "hq", distributor="hq")
    publisher.ensure_keys(datetime.now(UTC))
    with lab(tmp_path, real_part) as made, account(made.identity) as user:
        # root's crontab stays as it is: sudo finds this one first.
        programs = user.home / "bin"
        programs.mkdir()
        crontab = programs / "crontab"
        crontab.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {user.home}/tab 2>/dev/null; else cat >{user.home}/tab; fi\n')
        crontab.chmod(0o755)
        path = f"{programs}:/usr/bin:/bin:{Path(sys.executable).resolve().parent}"
        user.rule("{} ALL=(root) ALL", f"Defaults:{{}} secure_path={path}")
        monkeypatch.setenv("SLUICE_SECRET_SUDO", user.password)
        found = user.on(made.host("there", options=user.match()))
        # A directory of root's lies below directories of root's.
        roots = PurePosixPath(user.home.parent / "a place" / "sluice")
        subscriber = replace(found, working_directory=roots, ssh=Ssh(become="sudo", become_password="SUDO"))
        yield Place(user, subscriber, publisher, bundle_directory, AddressTransport(tmp_path))


def test_everything_from_bootstrap_to_removal_is_roots_and_owners_can_be_set(place: Place) -> None:
    done = place.bootstrap(place.subscriber)
    assert {step.act.value for step in done.steps} == {"agent", "identity", "key", "trust", "hook"}
    assert place.bootstrap(place.subscriber).steps == ()
    directory = Path(place.subscriber.working_directory)
    assert (directory.stat().st_uid, directory.stat().st_mode & 0o777) == (0, 0o700)
    assert {path.stat().st_uid for path in directory.rglob("*")} == {0}
    assert str(directory) in (place.account.home / "tab").read_text()
    found = place.check(place.subscriber)
    assert all(each.ok for each in found.values()), found
    with closing(call_agent(place.subscriber, "hq", transport=place.transport, timeout=120)) as call:
        assert "owner" in call.hello.features
    removed = remove_from_host(place.subscriber, transport=place.transport, timeout=120, dry_run=False)
    assert len(removed.steps) == 2
    assert list(directory.parent.iterdir()) == []
    assert place.account.password not in repr(place.subscriber)


def test_without_it_the_remedy_for_owners_is_true_and_works(place: Place) -> None:
    alone = replace(place.subscriber, working_directory=PurePosixPath(place.account.home / "own place"), ssh=Ssh())
    place.bootstrap(alone)
    lacking = place.check(alone)["features for hq"]
    assert lacking.detail == "lacks owner, which its Distributions need"
    assert "write ssh: {become: sudo} or a login as root, and a working_directory of its own for it" in lacking.remedy
    # The old directory isn't root's: it is neither used nor changed, and the message names what to do.
    same = replace(place.subscriber, working_directory=alone.working_directory)
    before = sorted(os.listdir(alone.working_directory))
    with pytest.raises(TrustError, match="give it another working_directory, or log in as the account"):
        place.bootstrap(same)
    assert "give it another working_directory" in place.check(same)["working directory"].remedy
    assert sorted(os.listdir(alone.working_directory)) == before
    with pytest.raises(TrustError, match="--replace-key"):
        place.bootstrap(place.subscriber)
    publishers = {"hq": place.publisher}
    bootstrap(place.subscriber, publishers, transport=place.transport, bundles=place.bundles, timeout=120, replace_key=True)
    assert place.check(place.subscriber)["features for hq"].ok

"""Metadata that is sent as what it has in common with the files that are held, and what it has not."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.errors import TamperedError, TrustError
from sluice.sender.conversation import Conversation
from sluice.trust.targets import Target
from tests.agents.workbench import Workbench

ROLES = ["targets", "snapshot", "distribution.zone"]


@pytest.fixture
def bench(tmp_path: Path) -> Workbench:
    bench = Workbench(tmp_path)
    sign(bench, "1.1", "1.2")
    return bench


@pytest.fixture
def conversation(bench: Workbench) -> Iterator[Conversation]:
    conversation = bench.connect()
    yield conversation
    conversation.close()


def sign(bench: Workbench, *revisions: str) -> None:
    listing = {f"zone/{revision}/manifest": Target.of(revision.encode()) for revision in revisions}
    bench.publisher.publish(lambda: {"zone": listing}, now=datetime.now(UTC), longest_interval=timedelta(days=1))


def test_what_new_metadata_have_in_common_with_held_ones_isnt_sent(bench: Workbench, conversation: Conversation) -> None:
    held = conversation.push_metadata("zone", bench.publisher.files_for("zone", {}))
    sign(bench, "1.2", "1.3")
    files = bench.publisher.files_for("zone", held)
    like = bench.publisher.held_files("zone", held)
    assert list(like) == ROLES
    before = conversation.sent
    assert conversation.push_metadata("zone", files, like) == bench.publisher.versions()
    # Three signatures of 64 bytes and a digest of 32 can't be had from anywhere; all else can.
    assert conversation.sent - before < 3 * 64 + 32 + 450
    assert conversation.sent - before < sum(map(len, files.values())) / 2


def test_held_files_that_arent_the_senders_are_found_and_nothing_is_kept(bench: Workbench, conversation: Conversation) -> None:
    held = conversation.push_metadata("zone", bench.publisher.files_for("zone", {}))
    sign(bench, "1.2", "1.3")
    files = bench.publisher.files_for("zone", held)
    like = {role: data[::-1] for role, data in bench.publisher.held_files("zone", held).items()}
    with pytest.raises(TrustError):
        conversation.push_metadata("zone", files, like)
    assert conversation.push_metadata("zone", files) == bench.publisher.versions()


@pytest.mark.parametrize("role", ["root", "../../identity/receipt", "orders", "distribution.", ""])
def test_only_roles_have_held_files(role: str, bench: Workbench, conversation: Conversation) -> None:
    with pytest.raises(TamperedError, match="isn't a role whose file can be held"):
        conversation.push_metadata("zone", bench.publisher.files_for("zone", {}), {role: b""})

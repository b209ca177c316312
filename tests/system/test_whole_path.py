"""The whole path on real sshd hosts, typed as a user types it: build, sign, send, extract, receipt; then a second revision."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from sluice.model.event import EventKind
from tests.system.lab import OpenLab, SiteLab, described, two_trees, write_tree

NAMES = ("helsinki", "oslo", "tartu")
pytestmark = pytest.mark.timeout(480)


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, open_lab: OpenLab) -> Iterator[SiteLab]:
    with open_lab(tmp_path_factory.mktemp("path"), *NAMES) as made:
        yield made


def dress(source: Path, *, second: bool) -> None:
    """What isn't content: links, empty directories, modes and times a copy would lose."""
    for name, target in {"current": "d1", "dangling": "nowhere/at all", "up": "../zone/d2/f0002"}.items():
        (source / name).unlink(missing_ok=True)
        (source / name).symlink_to("d2" if second and name == "current" else target)
    for place in ("empty", "deep/er/empty", *(["empty too"] if second else [])):
        (source / place).mkdir(parents=True, exist_ok=True)
    (source / "ä ö €.txt").write_text("UTF-8")
    (source / "d1" / "script").write_text("#!/bin/sh\n")
    (source / "d1" / "script").chmod(0o750 if second else 0o755)
    (source / "d1" / "secret").write_text("s")
    (source / "d1" / "secret").chmod(0o600)
    (source / "d3").chmod(0o2755)
    os.utime(source / "d1" / "secret", ns=(0, 1_234_567_890_123_456_789 + second))
    for place in ("empty", "deep/er", "d3", "."):
        os.utime(source / place, ns=(0, 1_000_000_000_000_000_000 + second))


def test_a_distribution_goes_from_blueprints_to_three_hosts_and_its_second_revision_as_a_difference(lab: SiteLab) -> None:
    old, new = two_trees(1)
    write_tree(lab.source, old)
    dress(lab.source, second=False)

    said = lab.sluice("distribute", "zone")

    assert all(name in said for name in NAMES)
    rows = lab.rows()
    for name in NAMES:
        assert (rows[name]["held"], rows[name]["extracted"], rows[name]["latest"], rows[name]["state"]) == (
            "1.1",
            "1.1",
            "1.1",
            "installed",
        )
        assert rows[name]["bytes_sent"] > len(old["blob"])
        assert "1.1" in lab.sluice("why", name, "zone")
        lab.assert_converged(name)
    assert len(lab.events(EventKind.INSTALLED)) == len(NAMES)

    # Again, unchanged: no revision, and nothing is sent.
    lab.sluice("distribute", "zone")
    assert lab.events(EventKind.NO_CHANGE)
    again = lab.rows()
    assert {name: again[name]["extracted"] for name in NAMES} == dict.fromkeys(NAMES, "1.1")
    assert {name: again[name]["bytes_sent"] for name in NAMES} == {name: rows[name]["bytes_sent"] for name in NAMES}

    # The second revision in single steps; the blob stays, so that a difference must be far smaller than the whole.
    write_tree(lab.source, new | {"blob": old["blob"]})
    dress(lab.source, second=True)
    lab.sluice("build", "zone")
    lab.sluice("sign", "zone")
    lab.sluice("send", "zone")
    sent = lab.rows()
    for name in NAMES:
        assert (sent[name]["held"], sent[name]["latest"]) == ("1.2", "1.2")
        assert 0 < sent[name]["bytes_sent"] - rows[name]["bytes_sent"] < len(old["blob"]) / 10
    lab.sluice("extract")
    for name in NAMES:
        lab.assert_converged(name)
    assert {name: row["state"] for name, row in lab.rows().items()} == dict.fromkeys(NAMES, "installed")

    # What is told of it: a file with the base, and the same from the file itself.
    revisions = lab.ask("revisions", "zone")["revisions"]
    assert [each["revision"] for each in revisions] == ["1.1", "1.2"]
    bases = {ted["base"]: ted for ted in revisions[1]["teds"]}
    assert bases["1.1"]["payload"] < len(old["blob"]) / 10
    assert "1.1" in lab.sluice("ted", "show", bases["1.1"]["path"])


def test_what_stands_on_a_host_already_costs_no_content_when_only_metadata_changed(lab: SiteLab) -> None:
    before = lab.rows()["oslo"]
    changed = lab.source / "d1" / "script"
    changed.chmod(0o700)
    lab.sluice("distribute", "zone")
    after = lab.rows()["oslo"]
    assert after["extracted"] != before["extracted"]
    assert after["bytes_sent"] - before["bytes_sent"] < 60_000
    assert described(lab.destination("oslo")) == described(lab.source)

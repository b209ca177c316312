"""``synchronize`` and ``verify`` over a real sshd host, through the command: what is removed is said before, and damage comes back."""

import json
from collections.abc import Iterator

import pytest

from sluice.model.event import EventKind
from tests.system.lab import OpenLab, SiteLab, described

pytestmark = pytest.mark.timeout(480)


def synchronize_and_verify(lab: SiteLab) -> None:
    """As its author writes it into the blueprint."""
    path = lab.site / "site.yaml"
    documents = [json.loads(each) for each in path.read_text().split("\n---\n")]
    for document in documents:
        if document["kind"] == "Distribution":
            document["verify"] = True
            document["files"][0]["synchronize"] = True
    path.write_text("\n---\n".join(json.dumps(each) for each in documents))


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, open_lab: OpenLab) -> Iterator[SiteLab]:
    with open_lab(tmp_path_factory.mktemp("synchronize"), "oslo") as made:
        synchronize_and_verify(made)
        for name in ("stays", "goes", "sub/stays-too", "sub/deep/x", "bulk"):
            (made.source / name).parent.mkdir(parents=True, exist_ok=True)
            (made.source / name).write_text(f"content of {name}\n" * (2000 if name == "bulk" else 200))
        made.sluice("distribute", "zone")
        yield made


def test_removals_are_named_by_a_dry_run_and_then_made_and_damage_is_mended(lab: SiteLab) -> None:
    target = lab.destination("oslo")
    (target / "foreign").write_text("mine")
    (lab.source / "goes").unlink()
    (lab.source / "sub/deep/x").unlink()
    (lab.source / "sub/deep").rmdir()

    (told,) = lab.ask("distribute", "zone", "--dry-run")["removals"]
    assert told["paths"] == [f"{target}/goes", f"{target}/sub/deep", f"{target}/sub/deep/x"]
    assert (told["subscriber"], told["revision"], told["count"], told["problem"]) == ("oslo", "1.2", 3, "")
    assert (target / "goes").exists()

    lab.sluice("distribute", "zone")
    assert {path.name for path in target.rglob("*")} == {"stays", "foreign", "sub", "stays-too", "bulk"}

    (target / "stays").write_text("damaged by somebody")
    (target / "sub/stays-too").unlink()
    (target / "foreign").unlink()
    lab.sluice("extract", "oslo")
    assert described(target) == described(lab.source)
    assert "2 files repaired, read back " in lab.sluice("why", "oslo", "zone")
    assert [each.event.data["files_mended"] for each in lab.events(EventKind.VERIFIED)] == [2]

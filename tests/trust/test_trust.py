"""Trust between one Distributor and one Subscriber, on real keys and files: what is accepted, and each refusal by its own error."""

from __future__ import annotations

import json
import os
import shutil
import stat
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sluice.errors import (
    ExpiredError,
    ReplayedError,
    StoreCorruptError,
    StoreError,
    TamperedError,
    TruncatedError,
    TrustError,
    UnknownDistributorError,
)
from sluice.model.action import Script, ScriptType
from sluice.model.order import Act, Order
from sluice.model.revision import RevisionNumber
from sluice.trust.high_water import HighWater, read_high_water
from sluice.trust.publish import Publisher
from sluice.trust.targets import Target
from sluice.trust.verify import TrustDirectory

WEEK = timedelta(days=7)
MANIFEST = b"a manifest"
PATH = "zone/1.1/manifest"


def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def publisher(tmp_path: Path) -> Publisher:
    publisher = Publisher(tmp_path / "hq", distributor="hq")
    publisher.ensure_keys(now())
    publisher.publish(lambda: {"zone": {PATH: Target.of(MANIFEST)}}, now=now(), longest_interval=WEEK)
    return publisher


@pytest.fixture
def trust(tmp_path: Path, publisher: Publisher) -> TrustDirectory:
    trust = TrustDirectory(tmp_path / "subscriber", distributor="hq")
    trust.install_root(publisher.root())
    return trust


def order(sequence: int = 1, *, subscriber: str = "helsinki", expires: timedelta = timedelta(hours=1)) -> Order:
    return Order(
        distributor="hq",
        subscriber=subscriber,
        sequence=sequence,
        issued=now(),
        expires=now() + expires,
        distribution="zone",
        revision=RevisionNumber(1, 1),
        destinations=("/opt/zone",),
        pre_actions=(Script(ScriptType.SHELL, "none", run="true"),),
        post_actions=(),
    )


def accept(trust: TrustDirectory, publisher: Publisher) -> dict[str, int]:
    return trust.accept(publisher.files_for("zone", trust.versions()), "zone")


def test_what_the_distributor_signed_is_accepted_and_its_targets_are_known(trust: TrustDirectory, publisher: Publisher) -> None:
    held = accept(trust, publisher)
    assert held == publisher.versions()
    assert trust.view("zone", now=now()).target(PATH) == Target.of(MANIFEST)


def test_what_was_not_signed_has_no_target(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    with pytest.raises(TamperedError, match=r"has not signed zone/1\.2/manifest"):
        trust.view("zone").target("zone/1.2/manifest")


def test_private_keys_are_readable_by_their_owner_alone(tmp_path: Path, publisher: Publisher) -> None:
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "hq/keys").iterdir()}
    assert modes == {"root.pem": 0o600, "online.pem": 0o600}
    assert stat.S_IMODE((tmp_path / "hq/keys").stat().st_mode) == 0o700


def test_a_private_key_that_others_can_read_is_refused(tmp_path: Path, publisher: Publisher) -> None:
    (tmp_path / "hq/keys/online.pem").chmod(0o640)
    with pytest.raises(TrustError, match="can be read by others"):
        publisher.sign_order(order())


def test_making_keys_again_changes_nothing(publisher: Publisher) -> None:
    before = publisher.root()
    assert publisher.ensure_keys(now()) is False
    assert publisher.root() == before


def test_lost_keys_are_not_replaced_by_others_that_no_subscriber_believes(tmp_path: Path, publisher: Publisher) -> None:
    shutil.rmtree(tmp_path / "hq/keys")
    with pytest.raises(TrustError, match=r"^the keys of Distributor hq are gone, but its Subscribers trust them: restore keys"):
        publisher.ensure_keys(now())
    assert not (tmp_path / "hq/keys").exists() or not os.listdir(tmp_path / "hq/keys")
    with pytest.raises(TrustError) as caught:
        publisher.sign_order(order())
    assert caught.value.remedy == "restore it from your backup; for a new Distributor run `sluice trust init NAME`"


def test_what_can_sign_is_known_without_signing(tmp_path: Path, publisher: Publisher) -> None:
    publisher.check_keys()
    with pytest.raises(TrustError, match=r"Distributor new has no keys in .*: run `sluice trust init new`"):
        Publisher(tmp_path / "new", distributor="new").check_keys()


def test_a_root_key_kept_elsewhere_is_not_made_again(tmp_path: Path, publisher: Publisher) -> None:
    (tmp_path / "hq/keys/root.pem").unlink()
    assert publisher.ensure_keys(now()) is False
    assert os.listdir(tmp_path / "hq/keys") == ["online.pem"]


def test_a_private_key_that_a_kill_left_without_its_name_goes(tmp_path: Path, publisher: Publisher) -> None:
    (tmp_path / "hq/keys/.tmp-1-1").write_bytes(b"half a key")
    assert publisher.ensure_keys(now()) is False
    assert sorted(os.listdir(tmp_path / "hq/keys")) == ["online.pem", "root.pem"]


def test_publishing_the_same_again_changes_nothing(publisher: Publisher) -> None:
    assert publisher.publish(lambda: {"zone": {PATH: Target.of(MANIFEST)}}, now=now(), longest_interval=WEEK).changed == ()


def test_a_refresh_renews_the_timestamp_once_half_its_lifetime_is_over(publisher: Publisher) -> None:
    later = now() + timedelta(days=8)
    assert publisher.publish(dict, now=later, longest_interval=WEEK).changed == ("snapshot", "timestamp")
    assert publisher.publish(dict, now=later, longest_interval=WEEK).changed == ()


def test_only_changed_roles_are_sent_again(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    publisher.publish(lambda: {"zone": {PATH: Target.of(b"other")}}, now=now(), longest_interval=WEEK)
    assert sorted(publisher.files_for("zone", trust.versions())) == ["2.distribution.zone.json", "2.snapshot.json", "timestamp.json"]
    accept(trust, publisher)
    assert trust.view("zone").target(PATH) == Target.of(b"other")
    assert publisher.files_for("zone", trust.versions()) == {}


def test_another_distribution_changes_nothing_of_this_one(trust: TrustDirectory, publisher: Publisher) -> None:
    publisher.publish(lambda: {"web": {"web/1.1/manifest": Target.of(b"web")}}, now=now(), longest_interval=WEEK)
    accept(trust, publisher)
    with pytest.raises(TamperedError):
        trust.view("zone").target("web/1.1/manifest")


def test_a_subscriber_without_trust_root_refuses(tmp_path: Path, publisher: Publisher) -> None:
    stranger = TrustDirectory(tmp_path / "other", distributor="hq")
    with pytest.raises(UnknownDistributorError, match="no trust root is installed"):
        stranger.accept(publisher.files_for("zone", {}), "zone")


@pytest.mark.parametrize("kind", ["timestamp", "1.snapshot", "1.targets", "1.root"])
def test_only_a_root_signed_by_itself_is_installed(tmp_path: Path, publisher: Publisher, kind: str) -> None:
    data = (tmp_path / f"hq/trust/repository/{kind}.json").read_bytes()
    trust = TrustDirectory(tmp_path / "new", distributor="hq")
    with pytest.raises(TamperedError, match="is not signed by itself"):
        trust.install_root(data if kind != "1.root" else data.replace(b'"version":1', b'"version":2'))
    assert not (tmp_path / "new").exists()


def test_a_trust_root_replaced_at_rest_by_other_metadata_is_found(tmp_path: Path, trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    shutil.copyfile(tmp_path / "hq/trust/repository/timestamp.json", tmp_path / "subscriber/trust/root.json")
    with pytest.raises(TamperedError):
        trust.view("zone")


def test_metadata_of_another_distributor_of_that_name_is_refused(tmp_path: Path, trust: TrustDirectory) -> None:
    other = Publisher(tmp_path / "forged", distributor="hq")
    other.ensure_keys(now())
    other.publish(lambda: {"zone": {PATH: Target.of(b"forged")}}, now=now(), longest_interval=WEEK)
    files = other.files_for("zone", {"root": 1})
    with pytest.raises(UnknownDistributorError, match="keys that its trust root here doesn't name"):
        trust.accept(files, "zone")


def test_older_metadata_is_refused_as_replayed(trust: TrustDirectory, publisher: Publisher) -> None:
    old = publisher.files_for("zone", {})
    publisher.publish(lambda: {"zone": {PATH: Target.of(b"other")}}, now=now(), longest_interval=WEEK)
    accept(trust, publisher)
    with pytest.raises(ReplayedError, match="has version 1, but 2 was accepted before"):
        trust.accept(old, "zone")


def test_older_metadata_is_refused_also_after_the_metadata_was_wiped(tmp_path: Path, trust: TrustDirectory, publisher: Publisher) -> None:
    old = publisher.files_for("zone", {})
    publisher.publish(lambda: {"zone": {PATH: Target.of(b"other")}}, now=now(), longest_interval=WEEK)
    accept(trust, publisher)
    shutil.rmtree(tmp_path / "subscriber/trust/metadata")
    with pytest.raises(ReplayedError):
        trust.accept(old, "zone")
    accept(trust, publisher)
    assert trust.view("zone").target(PATH) == Target.of(b"other")


def test_expired_metadata_is_refused(trust: TrustDirectory, tmp_path: Path) -> None:
    old = Publisher(tmp_path / "hq", distributor="hq")
    shutil.rmtree(tmp_path / "hq/trust/repository")
    long_ago = now() - timedelta(days=60)
    old.ensure_keys(long_ago)
    old.publish(lambda: {"zone": {PATH: Target.of(MANIFEST)}}, now=long_ago, longest_interval=WEEK)
    with pytest.raises(ExpiredError, match="expired"):
        trust.accept(old.files_for("zone", {"root": 1}), "zone")


def test_expiry_counts_when_content_is_received_and_not_when_an_order_is_carried_out(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    later = now() + timedelta(days=60)
    with pytest.raises(ExpiredError):
        trust.view("zone", now=later)
    assert trust.view("zone").target(PATH) == Target.of(MANIFEST)


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.distribution.zone.json"])
def test_a_flipped_byte_in_any_file_is_refused(trust: TrustDirectory, publisher: Publisher, name: str) -> None:
    files = publisher.files_for("zone", {"root": 1})
    data = json.loads(files[name])
    data["signed"]["expires"] = "2099-01-01T00:00:00Z"
    with pytest.raises(TamperedError):
        trust.accept({**files, name: json.dumps(data).encode()}, "zone")
    assert trust.versions() == {"root": 1}


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.distribution.zone.json"])
@pytest.mark.parametrize("left", [0, 1, 200])
def test_a_cut_file_is_refused_as_truncated(trust: TrustDirectory, publisher: Publisher, name: str, left: int) -> None:
    files = publisher.files_for("zone", {"root": 1})
    with pytest.raises(TruncatedError):
        trust.accept({**files, name: files[name][:left]}, "zone")


@pytest.mark.parametrize("name", ["timestamp.json", "1.snapshot.json", "1.targets.json", "1.distribution.zone.json"])
def test_a_missing_file_is_refused_as_truncated(trust: TrustDirectory, publisher: Publisher, name: str) -> None:
    files = publisher.files_for("zone", {"root": 1})
    del files[name]
    with pytest.raises(TruncatedError):
        trust.accept(files, "zone")


def test_a_mix_of_two_publishings_is_refused(trust: TrustDirectory, publisher: Publisher) -> None:
    old = publisher.files_for("zone", {"root": 1})
    publisher.publish(lambda: {"zone": {PATH: Target.of(b"other")}}, now=now(), longest_interval=WEEK)
    new = publisher.files_for("zone", {"root": 1})
    mixed = {**new, "2.distribution.zone.json": old["1.distribution.zone.json"]}
    with pytest.raises(TamperedError):
        trust.accept(mixed, "zone")


@pytest.mark.parametrize("name", ["../evil.json", "1.evil.json", "root.json", "1.distribution...json", "1.distribution.a/b.json", "x"])
def test_a_file_that_no_repository_has_is_refused(trust: TrustDirectory, publisher: Publisher, name: str) -> None:
    with pytest.raises(TamperedError, match="isn't a metadata file"):
        trust.accept({**publisher.files_for("zone", {}), name: b"{}"}, "zone")


def test_metadata_tampered_with_at_rest_is_found(tmp_path: Path, trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    path = tmp_path / "subscriber/trust/metadata/distribution.zone.json"
    data = json.loads(path.read_bytes())
    data["signed"]["targets"][PATH]["hashes"]["sha256"] = "0" * 64
    path.write_text(json.dumps(data))
    with pytest.raises(TamperedError):
        trust.view("zone")


def test_a_damaged_high_water_file_is_never_taken_for_none(tmp_path: Path, trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    (tmp_path / "subscriber/high-water.json").write_bytes(b"")
    with pytest.raises(TruncatedError):
        accept(trust, publisher)


def test_an_order_reaches_its_recipient_as_it_was_given(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    given = order()
    assert trust.view("zone").open_order(publisher.sign_order(given), subscriber="helsinki", now=now()) == given


def test_an_order_for_another_subscriber_is_refused(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    with pytest.raises(TamperedError, match="is for Subscriber oslo, not for helsinki"):
        trust.view("zone").open_order(publisher.sign_order(order(subscriber="oslo")), subscriber="helsinki", now=now())


def test_an_expired_order_is_refused(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    with pytest.raises(ExpiredError):
        trust.view("zone").open_order(publisher.sign_order(order(expires=-timedelta(seconds=1))), subscriber="helsinki", now=now())


def test_an_order_with_a_changed_byte_is_refused(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    envelope = publisher.sign_order(order())
    envelope["payload"] = envelope["payload"].replace("/opt/zone", "/etc/zone")
    with pytest.raises(TamperedError, match="doesn't match"):
        trust.view("zone").open_order(envelope, subscriber="helsinki", now=now())


def test_an_order_signed_by_a_strange_key_is_refused(tmp_path: Path, trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    forger = Publisher(tmp_path / "forged", distributor="hq")
    forger.ensure_keys(now())
    with pytest.raises(UnknownDistributorError):
        trust.view("zone").open_order(forger.sign_order(order()), subscriber="helsinki", now=now())


def test_a_high_water_mark_of_orders_only_rises(trust: TrustDirectory) -> None:
    marks = read_high_water(trust.high_water_path).raised(sequences={"zone": 7})
    marks.check_sequence(order(8))
    marks.check_sequence(replace(order(1), distribution="web"))
    for sequence in (6, 7):
        with pytest.raises(ReplayedError):
            marks.check_sequence(order(sequence))
    assert marks.raised(sequences={"zone": 3}).sequences["zone"] == 7


@pytest.mark.parametrize(
    ("act", "remedy"),
    [
        (Act.EXTRACT, "run: sluice extract helsinki --distribution zone"),
        (Act.RELEASE, "run: sluice release zone --to helsinki"),
    ],
)
def test_an_order_that_was_accepted_before_is_refused_with_the_command_that_gives_another(act: Act, remedy: str) -> None:
    """Its agent was killed before its receipt was stored."""
    with pytest.raises(ReplayedError, match=f"order 7 to {act} zone is not above order 7, which was accepted before") as refused:
        HighWater(sequences={"zone": 7}).check_sequence(replace(order(7), act=act))
    assert refused.value.remedy == remedy


def test_a_kill_before_the_timestamp_leaves_the_set_before(
    publisher: Publisher, trust: TrustDirectory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rename = Path.rename

    def killed_at_timestamp(self: Path, target: Path) -> Path:
        if target.name == "timestamp.json":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", killed_at_timestamp)
    with pytest.raises(KeyboardInterrupt):
        publisher.publish(lambda: {"zone": {PATH: Target.of(b"other")}}, now=now(), longest_interval=WEEK)
    monkeypatch.undo()
    accept(trust, publisher)
    assert trust.view("zone").target(PATH) == Target.of(MANIFEST)
    publisher.publish(lambda: {"zone": {PATH: Target.of(b"third")}}, now=now(), longest_interval=WEEK)
    accept(trust, publisher)
    assert trust.view("zone").target(PATH) == Target.of(b"third")
    assert [name for name in os.listdir(tmp_path / "hq/trust/repository") if name.startswith(".tmp-")] == []


@pytest.mark.parametrize("publishings", [1, 3])
def test_what_is_read_while_somebody_publishes_is_of_one_set(
    publisher: Publisher, trust: TrustDirectory, monkeypatch: pytest.MonkeyPatch, publishings: int
) -> None:
    read_bytes = Path.read_bytes
    left = iter(range(publishings))

    def published_meanwhile(self: Path) -> bytes:
        data = read_bytes(self)
        if self.name.endswith(".snapshot.json") and next(left, None) == 0:
            for number in range(publishings):
                publisher.publish(lambda n=number: {"zone": {PATH: Target.of(bytes([n]))}}, now=now(), longest_interval=WEEK)
        return data

    monkeypatch.setattr(Path, "read_bytes", published_meanwhile)
    files = publisher.files_for("zone", {})
    monkeypatch.undo()
    trust.accept(files, "zone")
    assert trust.view("zone").target(PATH) == Target.of(bytes([publishings - 1])) == publisher.listing("zone")[PATH]


def test_a_missing_file_of_the_repository_is_not_waited_for(publisher: Publisher, tmp_path: Path) -> None:
    (tmp_path / "hq/trust/repository/1.snapshot.json").unlink()
    with pytest.raises(StoreCorruptError, match=r"1\.snapshot\.json is missing"):
        publisher.files_for("zone", {})


def test_a_withdrawn_distribution_keeps_its_role_and_lists_nothing(trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    publisher.publish(lambda: {"zone": {}}, now=now(), longest_interval=WEEK)
    accept(trust, publisher)
    with pytest.raises(TamperedError, match="has not signed"):
        trust.view("zone").target(PATH)


@pytest.mark.parametrize("call", ["publish", "files_for", "listing", "root", "versions"])
def test_a_repository_that_cannot_be_read_or_written_is_a_store_error(tmp_path: Path, publisher: Publisher, call: str) -> None:
    repository = tmp_path / "hq/trust/repository"
    shutil.rmtree(repository)
    repository.mkdir()
    for name in ("1.root.json", "timestamp.json"):
        (repository / name).mkdir()  # reading it is EISDIR, whoever asks
    calls = {
        "publish": lambda: publisher.publish(dict, now=now(), longest_interval=WEEK),
        "files_for": lambda: publisher.files_for("zone", {}),
        "listing": lambda: publisher.listing("zone"),
        "root": publisher.root,
        "versions": publisher.versions,
    }
    with pytest.raises(StoreError, match="Is a directory"):
        calls[call]()


def test_metadata_that_cannot_be_read_is_a_store_error(tmp_path: Path, trust: TrustDirectory, publisher: Publisher) -> None:
    accept(trust, publisher)
    held = tmp_path / "subscriber/trust/metadata/targets.json"
    held.unlink()
    held.mkdir()
    with pytest.raises(StoreError, match=r"targets\.json: Is a directory"):
        trust.view("zone")

"""Destinations and working directories on odd but real mounts: a clear word with path and remedy, and nothing is changed."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from agents.serve import _disk_error
from infra.filesystem.local.mounts import mount_devices
from infra.filesystem.local.seam import translate
from infra.hosts.bootstrap import bootstrap
from infra.hosts.check import check
from infra.transports.address import AddressTransport
from sluice.errors import AgentMissingError, NoSpaceError, SluiceError
from sluice.formats.rehearsals import Question
from sluice.model.change import Changes
from sluice.model.limits import LIMITS
from sluice.model.order import Failure, Outcome, Receipt
from sluice.model.site import Address, Subscriber
from sluice.subscriber.extract.rehearse import rehearse_extraction
from tests.conftest import missing
from tests.subscriber.host import Host
from tests.subscriber.revisions import Made, make, tree_of

Mount = Callable[..., Path]


def planted(top: Path, *names: str) -> Path:
    for name in names or ("a", "deep/b"):
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(f"new {name}")
    return top


def failed(receipt: Receipt) -> Failure:
    assert receipt.outcome is Outcome.FAILED
    assert receipt.failure is not None
    return receipt.failure


@pytest.mark.parametrize("place", ["a", "deep/b", "empty"])
def test_a_bind_mount_in_the_way_is_no_lock_that_waiting_would_free(tmp_path: Path, mount: Mount, place: str) -> None:
    """A file that a container's runtime mounts, such as /etc/resolv.conf; and a directory that a file shall replace."""
    host, target, other = Host(tmp_path), planted(tmp_path / "zone"), planted(tmp_path / "other")
    source = planted(tmp_path / "source", "a", "deep/b")
    for each in (source, other):
        (each / "empty").mkdir()
    assert host.install(make("1.1", source), target).outcome is Outcome.INSTALLED
    if place != "empty":
        (other / place).write_text("of the container")
    mount(target / place, "--bind", str(other / place))
    before = tree_of(target)
    (source / "empty").rmdir()
    planted(source, "a", "deep/b", "empty")

    failure = failed(host.install(make("1.2", source), target))

    assert failure.code == "DestinationError"
    assert failure.message.endswith(f"{target / place} is a mount point: while something is mounted there, nothing can take its place")
    assert failure.remedy == "choose another destination, or exclude it from the Distribution"
    assert tree_of(target) == before
    assert host.leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "mirrored", ["mnt/one", "mnt/one/deep", "mnt/two", "mnt/file", "mnt/host", "mnt/host/work/new", "mnt/free", "mnt/two/new", "part/er"]
)
def test_a_bind_mount_opens_no_way_for_a_mirror_into_what_others_placed_or_the_agent_keeps(
    tmp_path: Path, mount: Mount, mirrored: str
) -> None:
    """Paths differ there, and the directories are the same: they are compared by place, device and inode."""
    data = tmp_path / "data"
    source, single = planted(tmp_path / "source", "a", "deep/b", "deep/er/c"), planted(tmp_path, "single") / "single"
    host, file = Host(data / "host", distribution="tree"), Host(data / "host", distribution="file")
    for directory in ("two", "file", "free/old"):
        (data / directory).mkdir(parents=True)
    assert host.install(make("1.1", source, distribution="tree"), data / "one").outcome is Outcome.INSTALLED
    placed = make("1.1", source, distribution="tree2")
    assert Host(data / "host", distribution="tree2").install(placed, data / "two/deeper/tree").outcome is Outcome.INSTALLED
    assert file.install(make("1.1", single, distribution="file"), data / "file/conf").outcome is Outcome.INSTALLED
    (tmp_path / "mnt").mkdir()
    mount(tmp_path / "mnt", "--bind", str(data))
    (tmp_path / "part").mkdir()
    mount(tmp_path / "part", "--bind", str(data / "two/deeper/tree/deep"))
    planted(data, "free/old/gone")
    mirror, target = make("1.1", planted(tmp_path / "other", "x"), distribution="mirror", synchronize="mirror"), tmp_path / mirrored
    asking = Host(data / "host", distribution="mirror")
    asking.receive(mirror)
    before = tree_of(data / "one"), tree_of(data / "two"), tree_of(data / "file")

    changes = foretold(asking, mirror, target)
    receipt = asking.extract(mirror, target)

    if mirrored in ("mnt/free", "mnt/two/new"):
        assert (receipt.failure, changes.stops) == (None, ())
        assert not (data / "free/old").exists() or mirrored != "mnt/free"
        return
    assert failed(receipt).message == changes.stops[0].message
    inside = f"{target}/ reaches into the agent's working directory" if mirrored == "mnt/host/work/new" else f"{target} can't be mirrored: "
    assert failed(receipt).message.startswith(inside)
    assert (tree_of(data / "one"), tree_of(data / "two"), tree_of(data / "file")) == before
    assert host.held.status().extracted is not None


@pytest.mark.parametrize("place", ["mnt/host/work", "mnt/host/work/new/er", "mnt/host", "inner", "inner/new", "inner/more/file"])
def test_no_destination_reaches_into_the_working_directory_by_way_of_a_bind_mount(tmp_path: Path, mount: Mount, place: str) -> None:
    data = tmp_path / "data"
    host, names = Host(data / "host"), ("work/distributors/hq/a",) if place == "mnt/host" else ("a", "deep/b")
    made = make("1.1", planted(tmp_path / "single", "single") / "single" if "file" in place else planted(tmp_path / "source", *names))
    host.receive(made)
    for point, of in (("mnt", data), ("inner", data / "host/work/distributors")):
        (tmp_path / point).mkdir()
        mount(tmp_path / point, "--bind", str(of))
    before = {path: path.stat().st_mtime_ns for path in data.rglob("*") if "receipts" not in path.parts}

    (stop,) = foretold(host, made, tmp_path / place).stops
    failure = failed(host.extract(made, tmp_path / place))

    assert failure.message == stop.message == f"{tmp_path / place}/ reaches into the agent's working directory"
    assert {path: path.stat().st_mtime_ns for path in before}.keys() == before.keys()
    assert not {path.name for path in data.rglob("*")} & {"a", "b", "er", "new", "more"}


@pytest.mark.parametrize(
    ("one", "other", "message"),
    [
        ("data/one", "mnt/one", "are one directory, or one of them lies in the other, by way of a mount"),
        ("data/one", "inner", "are one directory, or one of them lies in the other, by way of a mount"),
        ("data/one", "inner/new/est", "are one directory, or one of them lies in the other, by way of a mount"),
        ("data/one", "mnt/two", "are one directory by way of a mount, and destinations use both paths"),
        ("data/one", "inner two/new", ""),
    ],
)
def test_two_destinations_that_a_bind_mount_makes_one_are_told_so(tmp_path: Path, mount: Mount, one: str, other: str, message: str) -> None:
    for directory in ("data/one", "data/two", "mnt", "inner", "inner two"):
        (tmp_path / directory).mkdir(parents=True)
    for point, of in (("mnt", "data"), ("inner", "data/one"), ("inner two", "data/two")):
        mount(tmp_path / point, "--bind", str(tmp_path / of))
    source = planted(tmp_path / "source")
    host, made = Host(tmp_path), make("1.1", source, source)
    host.receive(made)
    destinations = tmp_path / one, tmp_path / other

    stops = rehearse_extraction(host.context, Question(made.manifest, tuple(map(str, destinations)))).stops
    receipt = host.extract(made, *destinations)

    if not message:
        assert (stops, receipt.failure) == ((), None)
        return
    failure = failed(receipt)
    assert [(stop.message, stop.remedy) for stop in stops] == [(failure.message, failure.remedy)]
    assert failure.message.endswith(message)
    assert not list((tmp_path / "data/one").iterdir())
    assert host.leftovers(tmp_path) == []


def test_a_mount_that_comes_between_the_look_and_the_swap_is_told_as_one(tmp_path: Path, mount: Mount) -> None:
    """What the kernel says then is that the file is busy."""
    one, other = planted(tmp_path / "zone") / "a", planted(tmp_path / "other") / "a"
    mount(one, "--bind", str(other))
    with pytest.raises(OSError, match="busy") as busy:
        os.rename(tmp_path / "zone/deep/b", one)
    assert "is a mount point" in translate(busy.value, str(one)).message
    assert "is a mount point" not in translate(busy.value, str(other)).message


@pytest.mark.parametrize("more", [0, 1, 30])
def test_too_few_inodes_are_told_before_anything_is_changed(tmp_path: Path, mount: Mount, more: int) -> None:
    host, target = Host(tmp_path), tmp_path / "small"
    target.mkdir()
    mount(target, "-t", "tmpfs", "-o", "size=40m,nr_inodes=30", "tmpfs")
    free = os.statvfs(target).f_favail
    names = [f"f{number}" for number in range(free - 1 + more)]  # one is for staging

    receipt = host.install(make("1.1", planted(tmp_path / "source", *names)), target)

    if not more:
        assert receipt.outcome is Outcome.INSTALLED, receipt.failure
        return
    failure = failed(receipt)
    assert failure.code == "NoSpaceError"
    assert f"needs {free + more} inodes on the file system of {target}, and {free} are free there, whatever space is" in failure.message
    assert "inodes" in failure.remedy
    assert list(target.iterdir()) == []


def test_a_working_directory_without_inodes_says_so_instead_of_space(tmp_path: Path, mount: Mount) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount(small, "-t", "tmpfs", "-o", "size=40m,nr_inodes=60", "tmpfs")
    host = Host(small)
    made = make("1.1", planted(tmp_path / "source"))
    for number in range(os.statvfs(small).f_favail):
        (small / f"fill{number}").touch()
    with pytest.raises((NoSpaceError, OSError)) as full:
        host.receive(made)
    # What reaches the agent as it is becomes an error there.
    error = full.value if isinstance(full.value, NoSpaceError) else _disk_error(full.value, small)
    assert isinstance(error, NoSpaceError)
    assert f"no inodes left for {small}" in error.message
    assert "`df -i` shows it" in error.message


def test_a_read_only_file_system_is_told_without_advice_to_write_on_it(tmp_path: Path, mount: Mount) -> None:
    host, target = Host(tmp_path), tmp_path / "fixed"
    target.mkdir()
    mount(target, "-t", "tmpfs", "-o", "ro", "tmpfs")
    failure = failed(host.install(make("1.1", planted(tmp_path / "source")), target / "zone"))
    assert failure.code == "DestinationError"
    assert str(target) in failure.message
    assert "Read-only" in failure.message
    assert "name a destination on a file system that isn't read-only" in failure.remedy
    assert "remount" not in failure.remedy


@pytest.mark.parametrize("below", ["", "distributions/zone", "distributions/zone/receipts"])
@pytest.mark.parametrize("how", ["i", "a", "ro"])
def test_a_working_directory_that_cannot_be_written_is_told_by_dry_run_and_run_alike(
    tmp_path: Path, mount: Mount, how: str, below: str
) -> None:
    disk, target, source = tmp_path / "disk", tmp_path / "zone", planted(tmp_path / "source")
    disk.mkdir()
    mount(disk, "-t", "tmpfs", "tmpfs")
    host = Host(disk)
    assert host.install(make("1.1", source), target).outcome is Outcome.INSTALLED
    (source / "a").write_text("newer")
    made, bad = make("1.2", source), host.work / "distributors/hq" / below
    host.receive(made)
    command = ["mount", "-o", "remount,ro", disk] if how == "ro" else ["chattr", f"+{how}", bad]
    if subprocess.run(command, check=False, capture_output=True).returncode:
        missing("attributes on a tmpfs")
    try:
        (stop,) = foretold(host, made, target).stops
        with pytest.raises(SluiceError) as refused:
            host.extract(made, target)
        if how == "i":
            with pytest.raises(PermissionError) as raw:
                (bad / "new").touch()
            assert f"lsattr -d {host.work}" in _disk_error(raw.value, host.work).remedy
    finally:
        if how != "ro":
            subprocess.run(["chattr", f"-{how}", bad], check=True)
    assert (stop.message, stop.remedy) == (refused.value.message, refused.value.remedy)
    assert f"chattr -{how} {bad};" in stop.remedy if how != "ro" else "Read-only" in stop.message
    assert (target / "a").read_text() == "new a"
    if how != "ro":
        assert host.extract(made, target).outcome is Outcome.INSTALLED


def test_a_file_system_that_tells_no_space_is_written_unless_some_must_stay_free(tmp_path: Path, mount: Mount) -> None:
    host, target, made = Host(tmp_path), tmp_path / "endless", make("1.1", planted(tmp_path / "source"))
    target.mkdir()
    mount(target, "-t", "tmpfs", "-o", "size=0", "tmpfs")
    assert os.statvfs(target).f_blocks == 0
    question = Question(made.manifest, (str(target / "zone"),), min_free=1)
    host.receive(made)
    (stop,) = rehearse_extraction(host.context, question).stops
    assert f"the file system of {target} doesn't tell how much is free, and 1 B must stay free there" in stop.message
    assert "min_free" in stop.remedy
    assert foretold(host, made, target / "zone").stops == ()
    assert host.extract(made, target / "zone").outcome is Outcome.INSTALLED
    assert Host(target).install(made, tmp_path / "zone").outcome is Outcome.INSTALLED


def test_what_the_kernel_shows_holds_no_files(tmp_path: Path) -> None:
    host, made = Host(tmp_path), make("1.1", planted(tmp_path / "source"))
    stops = foretold(host, made, Path("/proc/zone")).stops
    failure = failed(host.install(made, Path("/proc/zone")))
    assert (stops[0].message, stops[0].remedy) == (failure.message, failure.remedy)
    assert failure.message.startswith("/proc/zone: proc shows what the kernel has, and holds no files")
    assert failure.remedy == "choose a destination on another file system"


def test_a_name_that_is_too_long_is_told_with_its_path_and_a_path_of_any_length_is_none(tmp_path: Path) -> None:
    host, made = Host(tmp_path), make("1.1", planted(tmp_path / "source"))
    failure = failed(host.install(made, tmp_path / ("x" * 256)))
    assert f"{tmp_path}/{'x' * 256}: File name too long" in failure.message
    assert failure.remedy == "choose a shorter destination, or shorter names in the source"
    assert host.leftovers(tmp_path) == []
    assert host.install(made, tmp_path / "/".join(["y" * 250] * 17)).outcome is Outcome.INSTALLED


def test_an_overlay_is_a_destination_as_any_other_and_a_directory_of_its_lower_layer_has_its_own_word(tmp_path: Path, mount: Mount) -> None:
    lower, merged = planted(tmp_path / "lower", "a", "deep/b", "deep/er/c"), tmp_path / "zone"
    (lower / "empty").mkdir()
    (tmp_path / "layers").mkdir()
    mount(tmp_path / "layers", "-t", "tmpfs", "tmpfs")
    for name in ("layers/upper", "layers/work", "zone"):
        (tmp_path / name).mkdir()
    mount(merged, "-t", "overlay", "-o", f"lowerdir={lower},upperdir={tmp_path}/layers/upper,workdir={tmp_path}/layers/work", "overlay")
    host, source = Host(tmp_path), planted(tmp_path / "source", "a", "deep/b", "new/file")
    for each in ("a", "new/file"):
        (source / each).write_text("newer")

    receipt = host.install(make("1.1", source), merged)

    assert receipt.failure is None
    assert (merged / "a").read_text() == (merged / "new/file").read_text() == "newer"
    assert (merged / "deep/er/c").read_text() == "new deep/er/c"
    assert host.leftovers(tmp_path) == []
    with pytest.raises(OSError, match="cross-device") as refused:
        os.rename(merged / "empty", merged / "other")
    error = translate(refused.value, str(merged / "empty"))
    assert str(merged / "empty") in error.message
    assert "an overlay can't rename that directory of its lower layer: move it away yourself" in error.remedy


# --- file systems that can't hold everything ---------------------------------------------------------------------------


def foretold(host: Host, made: Made, target: Path) -> Changes:
    return rehearse_extraction(host.context, Question(made.manifest, (str(target),)))


def test_inodes_without_room_for_later_years_keep_what_they_can_and_that_is_told_before_and_mended_no_more(
    tmp_path: Path, mount: Mount
) -> None:
    image, top = tmp_path / "image", tmp_path / "small"
    image.write_bytes(bytes(8 * 1024 * 1024))
    if subprocess.run(["mkfs.ext4", "-q", "-I", "128", image], capture_output=True, check=False).returncode:
        missing("mkfs.ext4")
    top.mkdir()
    mount(top, "-o", "loop", str(image))
    host, target, source = Host(tmp_path), top / "zone", planted(tmp_path / "source", "late", "early", "exact")
    for name, seconds in (("late", 2**32), ("early", -(2**32)), ("exact", 1_700_000_000.75)):
        os.utime(source / name, (0, seconds))

    details = {Path(each.path).name: each.detail for each in foretold(host, make("1.1", source), target).paths}
    receipt = host.install(make("1.1", source), target)

    assert receipt.failure is None
    says = "an ext file system with inodes of 128 bytes keeps the time {} for its own".format
    assert (details["late"], details["early"], details["exact"]) == (says("2038-01-19 03:14:07"), says("1901-12-13 20:45:52"), "")
    found = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    assert found == {"late": (2**31 - 1) * 10**9, "early": -(2**31) * 10**9, "exact": 1_700_000_000 * 10**9}
    again = foretold(host, make("1.2", source), target)
    assert again.counts == {}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["a:b"], "{}/a:b: vfat can't have that name"),
        (["deep/what?"], "{}/deep/what?: vfat can't have that name"),
        (["a", "a."], "{}/a.: vfat can't have that name"),
        (["deep/a "], "{}/deep/a : vfat can't have that name"),
        (["README", "readme"], "{0}/README and {0}/readme are one name for vfat"),
        (["a", "large file"], "{}/large file has 14 bytes, and vfat holds 12 in a file"),
    ],
)
def test_what_fat_cannot_hold_is_told_by_the_dry_run_in_the_words_of_the_run_and_nothing_is_changed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, names: list[str], message: str
) -> None:
    monkeypatch.setattr("infra.filesystem.local.limits.mount_types", lambda: dict.fromkeys(mount_devices(), "vfat"))
    monkeypatch.setitem(LIMITS, "vfat", replace(LIMITS["vfat"], size=12))
    host, target, made = Host(tmp_path), tmp_path / "zone", make("1.1", planted(tmp_path / "source", *names))
    stops = foretold(host, made, target).stops
    failure = failed(host.install(made, target))
    assert [stop.message for stop in stops] == [failure.message] == [message.format(target)]
    assert failure.remedy == stops[0].remedy
    assert not target.exists()


def test_a_link_is_nothing_that_fat_holds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("infra.filesystem.local.limits.mount_types", lambda: dict.fromkeys(mount_devices(), "vfat"))
    source = planted(tmp_path / "source", "a")
    (source / "link").symlink_to("a")
    host, target, made = Host(tmp_path), tmp_path / "zone", make("1.1", source)
    (stop,) = foretold(host, made, target).stops
    assert failed(host.install(made, target)).message == stop.message == f"{target}/link is a link, which vfat can't have"


# --- noexec -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def somebody(tmp_path: Path) -> Subscriber:
    (tmp_path / "host").mkdir()
    return Subscriber("here", Address("local", path=str(tmp_path)), PurePosixPath(tmp_path / "host/sluice"))


def test_a_working_directory_that_is_mounted_noexec_is_told_by_bootstrap_and_check_before_anything_is_written(
    tmp_path: Path, mount: Mount, somebody: Subscriber, bundle_directory: Path
) -> None:
    mount(tmp_path / "host", "-t", "tmpfs", "-o", "noexec", "tmpfs")
    transport = AddressTransport(tmp_path)
    for dry_run in (True, False):
        with pytest.raises(AgentMissingError) as refused:
            bootstrap(somebody, {}, transport=transport, bundles=bundle_directory, timeout=60, dry_run=dry_run)
        assert f"{tmp_path}/host is mounted noexec" in refused.value.message
        assert refused.value.remedy.startswith("give here a working_directory on a file system from which programs may be run")
    assert list((tmp_path / "host").iterdir()) == []
    (item,) = [
        each for each in check(somebody, {}, transport=transport, bundles=bundle_directory, timeout=60, needs={}) if each.item == "mount"
    ]
    assert (item.ok, item.detail, item.remedy) == (False, refused.value.message, refused.value.remedy)


def test_a_contact_after_a_remount_noexec_sends_to_the_command_that_says_so(
    tmp_path: Path, mount: Mount, somebody: Subscriber, bundle_directory: Path
) -> None:
    mount(tmp_path / "host", "-t", "tmpfs", "tmpfs")
    transport = AddressTransport(tmp_path)
    bootstrap(somebody, {}, transport=transport, bundles=bundle_directory, timeout=60)
    subprocess.run(["mount", "-o", "remount,noexec", tmp_path / "host"], check=True)
    with pytest.raises(AgentMissingError) as refused:
        transport.connect(somebody, timeout=60).close()
    assert refused.value.remedy == "run: sluice subscriber bootstrap here, which says whether it is mounted noexec"
    with pytest.raises(AgentMissingError, match="is mounted noexec"):
        bootstrap(somebody, {}, transport=transport, bundles=bundle_directory, timeout=60)

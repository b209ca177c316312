"""Bootstrapping real hosts: bare ones, ones that are there already, somebody else's; and bundles that run without anything."""

import ast
import json
import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath

import pytest

from infra.hosts import host_program, login
from infra.hosts.agent_bundle import (
    Platform,
    build_from_index,
    build_from_installed,
    bundles,
    choose,
    closure,
    open_bundle,
    our_files,
    pins_of,
)
from infra.hosts.bootstrap import Act, Bootstrapped, bootstrap, push_trust
from infra.hosts.check import CheckItem, check, recovery_item
from infra.hosts.login import probe
from infra.transports.address import AddressTransport
from sluice.errors import AgentMissingError, NotFoundError, StoreCorruptError, TrustError
from sluice.formats.agent_call import launcher
from sluice.model.site import Address, Subscriber
from sluice.trust.publish import Publisher
from tests.system.sshd import lab

here_only = pytest.mark.parametrize("place", ["local"], indirect=True)
"""For what doesn't depend on the way to the host."""
bootstrapped = pytest.mark.parametrize("place", ["bootstrapped"], indirect=True)
"""For what comes after the first bootstrap, which takes seconds: it is done once, and put back for each test."""
ALL = [Act.AGENT, Act.IDENTITY, Act.KEY, Act.TRUST, Act.HOOK]


@dataclass
class Place:
    """A host and who bootstraps it."""

    subscriber: Subscriber
    transport: AddressTransport
    publisher: Publisher
    bundles: Path
    crontab: Path

    def bootstrap(self, *, replace_key: bool = False, own_crontab: bool = True, dry_run: bool = False) -> Bootstrapped:
        return bootstrap(
            self.subscriber,
            {"hq": self.publisher},
            transport=self.transport,
            bundles=self.bundles,
            timeout=60,
            replace_key=replace_key,
            own_crontab=own_crontab,
            dry_run=dry_run,
        )

    @property
    def directory(self) -> Path:
        return Path(self.subscriber.working_directory)

    def check(self) -> list[CheckItem]:
        return check(self.subscriber, {"hq": self.publisher}, transport=self.transport, bundles=self.bundles, timeout=60, needs={})

    def items(self) -> dict[str, bool]:
        return {each.item: each.ok for each in self.check()}


def publisher_in(directory: Path, name: str = "hq") -> Publisher:
    made = Publisher(directory, distributor=name)
    made.ensure_keys(datetime.now(UTC))
    return made


def local_place(home: Path, bundles: Path, real_part: Callable[[str], Path]) -> Place:
    """This machine, with a crontab of the test's own: the user's isn't touched. Its programs are PATH."""
    programs, crontab = home / "bin", home / "crontab"
    programs.mkdir(parents=True)
    (programs / "crontab").write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then cat {crontab} 2>/dev/null; else cat >{crontab}; fi\n')
    (programs / "crontab").chmod(0o755)
    # One Python instead of those of this machine, each of which would be asked again and again.
    (programs / "python3").symlink_to(os.path.realpath(sys.executable))
    for name in ("sh", "cat"):
        (programs / name).symlink_to(real_part(name))
    subscriber = Subscriber("here", Address("local", path=str(home)), PurePosixPath(home / "it's a dir; 100%"))
    return Place(subscriber, AddressTransport(home), publisher_in(home / "hq"), bundles, crontab)


@pytest.fixture(params=["ssh", "local"])
def place(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    real_part: Callable[[str], Path],
    bundle_directory: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    if request.param == "ssh":
        with lab(tmp_path, real_part) as made:
            host = made.host("there")
            publisher = publisher_in(tmp_path / "hq")
            yield Place(host.subscriber, AddressTransport(tmp_path), publisher, bundle_directory, host.home / "crontab")
        return
    if request.param == "bootstrapped":
        made = replace(request.getfixturevalue("first"))
        home = made.crontab.parent
        shutil.rmtree(home)
        shutil.copytree(home.with_name("kept"), home, symlinks=True)
    else:
        made = local_place(tmp_path, bundle_directory, real_part)
    monkeypatch.setenv("PATH", str(made.crontab.with_name("bin")))
    yield made


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory, bundle_directory: Path, real_part: Callable[[str], Path]) -> Place:
    """This machine, bootstrapped, and kept as it is then."""
    home = tmp_path_factory.mktemp("first") / "home"
    made = local_place(home, bundle_directory, real_part)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", str(home / "bin"))
        made.bootstrap()
    shutil.copytree(home, home.with_name("kept"), symlinks=True)
    return made


def test_a_bare_host_becomes_a_subscriber_and_a_second_time_nothing_is_missing(place: Place) -> None:
    before = place.items()
    assert before["login"]
    assert not any(before[item] for item in ("agent", "working directory", "identity", "receipt key at hq", "trust in hq"))
    assert before["recovery"] is (place.subscriber.address.scheme == "local"), "a crontab of one's own needs no line"
    done = place.bootstrap()
    assert [step.act for step in done.steps] == ALL
    assert place.directory.stat().st_mode & 0o777 == 0o700
    assert place.publisher.subscriber_key(place.subscriber.name) == (place.directory / "identity" / "receipt.pub").read_bytes()
    assert (place.directory / "identity" / "receipt.pem").stat().st_mode & 0o777 == 0o600
    assert (place.directory / "distributors" / "hq" / "trust" / "root.json").read_bytes() == place.publisher.root()
    after = place.items()
    assert all(ok for item, ok in after.items() if not item.startswith("conversation")), after
    assert place.bootstrap().steps == ()


def test_the_agent_answers_a_greeting_after_it(place: Place) -> None:
    place.bootstrap()
    assert all(place.items().values()), place.items()


def test_a_dry_run_says_the_same_and_changes_nothing(place: Place) -> None:
    wanted = place.bootstrap(dry_run=True)
    assert [step.act for step in wanted.steps] == ALL
    assert not place.directory.exists()
    assert place.publisher.subscriber_key(place.subscriber.name) is None
    assert place.bootstrap().steps == wanted.steps


@here_only
def test_the_recovery_hook_is_one_line_beside_those_of_others_and_starts_the_agent(place: Place) -> None:
    place.crontab.write_text("# mine\n0 3 * * * backup\n")
    place.bootstrap()
    lines = place.crontab.read_text().splitlines()
    assert lines[:2] == ["# mine", "0 3 * * * backup"]
    assert len(lines) == 3
    assert lines[2].startswith("@reboot ")
    # As cron does: a percent sign that isn't escaped would end the command.
    command = lines[2].removeprefix("@reboot ").replace("\\%", "%")
    assert subprocess.run(["/bin/sh", "-c", command.replace(" run ", " status ")], check=False).returncode == 0
    place.crontab.write_text("\n".join(lines[:2]) + "\n")
    assert [step.act for step in place.bootstrap().steps] == [Act.HOOK]


@here_only
@pytest.mark.parametrize("before", [None, "", "# mine\n0 3 * * * backup\n"])
def test_the_crontab_of_whoever_runs_it_stays_as_it_is_unless_asked(place: Place, before: str | None) -> None:
    if before is not None:
        place.crontab.write_text(before)
    done = place.bootstrap(own_crontab=False)
    assert Act.HOOK not in [step.act for step in done.steps]
    assert "your crontab stays as it is: repeat with --crontab, or have `" in done.notes[0]
    assert (place.crontab.read_text() if place.crontab.exists() else None) == before
    assert place.items()["recovery"]
    assert [step.act for step in place.bootstrap().steps] == [Act.HOOK]


@bootstrapped
def test_the_launcher_needs_nothing_of_the_environment(place: Place) -> None:
    program = str(launcher(place.subscriber.working_directory))
    done = subprocess.run(
        [program, "--help"], env={"PYTHONPATH": "/nonexistent", "PYTHONHOME": "/nonexistent"}, cwd="/", capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr
    lib = next((place.directory / "agent").glob("?" * 64)) / "lib"
    modules = "tuf.api.metadata, tuf.ngclient, blake3, cryptography.hazmat.primitives.asymmetric.ed25519, sluice.trust.verify"
    code = f"import sys; sys.path.insert(0, {str(lib)!r}); import sluice.formats.zstd, {modules}; print(blake3.__file__)"
    done = subprocess.run([os.path.realpath(sys.executable), "-I", "-S", "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(str(lib))


@bootstrapped
def test_a_new_bundle_replaces_the_old_atomically_and_only_the_one_before_is_kept(place: Place, tmp_path: Path) -> None:
    agent = place.directory / "agent"
    first = host_program.installed_digest(str(place.directory))
    for number, stale in enumerate(("a" * 64, "b" * 64)):
        other = agent / stale
        other.mkdir()
        (other / "start.py").write_text(f"raise SystemExit({number})")
    text = (agent / "sluice-agent").read_text()
    (agent / "sluice-agent").write_text(text.replace(first, "a" * 64))
    (agent / ".tmp-9").mkdir()
    assert [step.act for step in place.bootstrap().steps] == [Act.AGENT]
    assert sorted(path.name for path in agent.iterdir()) == sorted([first, "a" * 64, "sluice-agent"])
    assert host_program.installed_digest(str(place.directory)) == first


@bootstrapped
def test_another_receipt_key_is_refused_and_replaced_when_told_to(place: Place) -> None:
    known = place.publisher.subscriber_key(place.subscriber.name)
    for name in ("receipt.pem", "receipt.pub", "subscriber.json"):
        (place.directory / "identity" / name).unlink()
    with pytest.raises(TrustError, match="--replace-key"):
        place.bootstrap()
    assert place.publisher.subscriber_key(place.subscriber.name) == known
    assert not place.items()["receipt key at hq"]
    told = {each.remedy for each in place.check() if not each.ok and each.item in ("identity", "receipt key at hq")}
    again = f"run: sluice subscriber bootstrap {place.subscriber.name} --replace-key"
    assert told == {f"if the host was set up anew, {again}; else find out which machine answers there"}
    done = place.bootstrap(replace_key=True)
    assert [step.act for step in done.steps] == [Act.IDENTITY, Act.KEY]
    assert place.publisher.subscriber_key(place.subscriber.name) == (place.directory / "identity" / "receipt.pub").read_bytes() != known


@bootstrapped
def test_the_working_directory_of_another_subscriber_is_left_alone(place: Place) -> None:
    place.subscriber = replace(place.subscriber, name="other")
    with pytest.raises(TrustError, match="belongs to Subscriber"):
        place.bootstrap()
    assert not place.items()["identity"]
    told = {each.remedy for each in place.check() if not each.ok and not each.item.startswith("conversation")}
    assert len(told) == 1  # and not a bootstrap alone, which was refused just now
    assert told.pop().startswith("give other a working_directory of its own, or remove that one if")
    # A clone in the place of a host whose key is known: what is told is what a bootstrap then accepts.
    place.publisher.keep_subscriber_key("other", (place.directory / "identity" / "receipt.pub").read_bytes())
    (remedy,) = {each.remedy for each in place.check() if each.item == "identity"}
    assert remedy.endswith("and run: sluice subscriber bootstrap other --replace-key")
    shutil.rmtree(place.directory)
    with pytest.raises(TrustError, match="--replace-key"):
        place.bootstrap()
    place.bootstrap(replace_key=True)
    assert place.items()["identity"]


def test_trust_is_pushed_alone_and_needs_an_agent(place: Place, tmp_path: Path) -> None:
    with pytest.raises(AgentMissingError, match="sluice subscriber bootstrap"):
        push_trust(place.subscriber, {"hq": place.publisher}, transport=place.transport, timeout=60)
    place.bootstrap()
    other = publisher_in(tmp_path / "lab", "lab")
    push_trust(place.subscriber, {"lab": other}, transport=place.transport, timeout=60)
    assert (place.directory / "distributors" / "lab" / "trust" / "root.json").read_bytes() == other.root()


@bootstrapped
def test_a_working_directory_others_can_enter_is_closed(place: Place) -> None:
    place.directory.chmod(0o755)
    assert not place.items()["working directory"]
    place.bootstrap()
    assert place.items()["working directory"]


class Answers:
    """A login that prints what a test wants."""

    def __init__(self, *answers: object, said: bytes = b"") -> None:
        self.output = b"".join(each if isinstance(each, bytes) else json.dumps(each).encode() + b"\n" for each in answers)
        self.said = said

    def run(self, command: Sequence[str], stdin: bytes | Iterable[bytes] = b"") -> tuple[int, bytes, bytes]:
        return 127, self.output, self.said

    def close(self) -> None:
        pass


FOUND = {"executable": "/usr/bin/python3", "python": [3, 9, 2], "machine": "aarch64", "libc": "glibc", "directory": None, "digest": ""}
FOUND |= {"name": "", "receipt_pub": "", "roots": {}, "crontab": False, "hook": False, "time": 0, "noexec": ""}
SOMEBODY = Subscriber("a", Address("ssh", "192.0.2.1", 22, "sluice"), PurePosixPath("/var/lib/sluice"))


def test_a_host_without_python_is_told_so() -> None:
    with pytest.raises(NotFoundError, match="no python3 on its PATH"):
        probe(Answers(said=b"sh: not found"), SOMEBODY)


@pytest.mark.parametrize(
    ("crontab", "hook", "ok", "detail"),
    [
        (True, True, True, "@reboot in crontab"),
        (True, False, False, "no hook"),
        (False, False, True, "no crontab: the next contact recovers"),
    ],
)
def test_a_host_without_any_crontab_is_told_so_and_lacks_nothing(crontab: bool, hook: bool, ok: bool, detail: str) -> None:
    host = probe(Answers({**FOUND, "crontab": crontab, "hook": hook}), SOMEBODY)
    found = recovery_item(SOMEBODY, host, "mend it")
    assert (found.ok, found.detail, bool(found.remedy)) == (ok, detail, not hook)


def test_text_of_a_login_script_is_passed_over() -> None:
    assert probe(Answers(b"Welcome!\n", FOUND), SOMEBODY).pythons == {Platform((3, 9), "aarch64", "glibc"): "/usr/bin/python3"}


def test_a_host_whose_python_is_too_old_is_told_which_it_has(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"no Python of 3\.11 or newer \(found: Python 3\.9, aarch64, glibc\)"):
        choose(tmp_path, [Platform((3, 9), "aarch64", "glibc")], host="Subscriber a")


def test_a_missing_bundle_is_named_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match=r"sluice agent build --python 3\.12 --arch aarch64 --libc musl"):
        choose(tmp_path, [Platform((3, 12), "aarch64", "musl"), Platform((3, 9), "aarch64", "musl")], host="Subscriber a")


@pytest.mark.slow
def test_the_same_inputs_give_the_same_bundle_and_a_changed_one_is_no_longer_current(tmp_path: Path) -> None:
    one, two = build_from_installed(tmp_path / "one"), build_from_installed(tmp_path / "two")
    assert one.digest == two.digest
    assert one.path.name == two.path.name
    assert one.is_current
    assert not replace(one, ours="0" * 64).is_current
    changed = one.path.stat().st_mtime_ns
    assert build_from_installed(tmp_path / "one") == one
    assert one.path.stat().st_mtime_ns == changed
    assert bundles(tmp_path / "one") == [one]
    one.path.write_bytes(b"no zip")
    with pytest.raises(StoreCorruptError):
        open_bundle(one.path)


def test_a_bundle_holds_no_more_than_an_agent_needs(bundle_directory: Path) -> None:
    with zipfile.ZipFile(build_from_installed(bundle_directory).path) as archive:
        names = archive.namelist()
    tops = {name.split("/")[1] for name in names if name.startswith("lib/") and ".dist-info" not in name}
    assert {"sluice", "agents", "infra", "tuf", "securesystemslib", "blake3", "cryptography", "backports", "urllib3", "hdiffpatch"} <= tops
    assert not tops & {"prefect", "sqlalchemy", "yaml", "jinja2", "pydantic", "paramiko", "pip", "setuptools"}
    assert "lib/infra/filesystem/local/__init__.py" in names or "lib/infra/filesystem/local.py" in names
    assert not [name for name in names if "/blueprint/" in name or "/distributor/" in name or "__pycache__" in name]
    assert [name for name in names if "LICENSE" in name]


def test_a_bundle_that_arrives_damaged_is_not_installed(bundle_directory: Path, tmp_path: Path) -> None:
    bundle = build_from_installed(bundle_directory)
    data = bytearray(bundle.path.read_bytes())
    data[len(data) // 2] ^= 1
    for sent in (bytes(data), bytes(data[:1000]), b""):
        command = [sys.executable, "-I", "-c", login.host_program(), "install", str(tmp_path / "wd")]
        command += [bundle.digest, str(bundle.size), str(2 * bundle.size)]
        done = subprocess.run(command, input=sent, capture_output=True, check=False)
        assert done.returncode == 1
        assert b"arrived damaged" in done.stderr
        assert list((tmp_path / "wd" / "agent").iterdir()) == []


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "a//b", "./a"])
def test_a_bundle_with_hostile_names_is_refused_although_its_digest_fits(name: str, tmp_path: Path) -> None:
    import hashlib

    path = tmp_path / "bundle.zip"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo(name), b"x")
    data = path.read_bytes()
    command = [sys.executable, "-I", "-c", login.host_program(), "install", str(tmp_path / "wd")]
    command += [hashlib.sha256(data).hexdigest(), str(len(data)), str(2 * len(data))]
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    assert done.returncode == 1
    assert b"the bundle names" in done.stderr
    assert not (tmp_path / "evil").exists()
    assert list((tmp_path / "wd" / "agent").iterdir()) == []


def test_what_runs_before_the_agent_is_read_by_old_pythons_and_needs_the_standard_library_only() -> None:
    text = login.host_program()
    tree = ast.parse(text, feature_version=(3, 7))
    imported = {each.name for node in ast.walk(tree) if isinstance(node, ast.Import) for each in node.names}
    imported |= {str(node.module).partition(".")[0] for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert imported <= sys.stdlib_module_names
    assert len(text) < 100_000, "it travels as one argument of a command"


def test_pins_are_the_lock_files_with_hashes_and_nothing_else() -> None:
    lock = Path(__file__).parents[2] / "requirements.lock"
    names = sorted(closure(("tuf", "blake3", "cryptography")))
    pins = pins_of(lock.read_text(), names).splitlines()
    assert len(pins) == len(names)
    assert all("--hash=sha256:" in pin and ";" not in pin for pin in pins)


def test_our_part_of_a_bundle_can_be_imported_without_what_is_left_out() -> None:
    files = our_files()
    assert "sluice/subscriber/receive/receivers.py" in files
    assert not [name for name in files if name.startswith(("sluice/distributor/", "sluice/blueprint/"))]
    for name, data in files.items():
        for node in ast.walk(ast.parse(data)):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.split(".")[0] in ("sluice", "agents", "infra"):
                path = node.module.replace(".", "/")
                assert f"{path}.py" in files or f"{path}/__init__.py" in files, f"{name} imports {node.module}"


@pytest.mark.soak
def test_bundles_for_other_pythons_and_machines_come_from_an_index(tmp_path: Path) -> None:
    lock = Path(__file__).parents[2] / "requirements.lock"
    for where in (Platform((3, 12), "aarch64", "glibc"), Platform((3, 13), "x86_64", "musl")):
        bundle = build_from_index(tmp_path, where, lock=lock)
        assert (bundle.platform, bundle.is_current) == (where, True)

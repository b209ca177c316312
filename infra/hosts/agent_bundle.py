"""Agent bundles: everything an agent needs besides Python itself, in one zip for one Python minor, machine and libc.

Two ways to make one: out of the packages installed here (no network; only for this very Python and machine), or out of wheels that
pip fetches by the lock file's pins and hashes (for any). The same inputs give the same bytes. ``host_program.py`` unpacks it: native
modules can't be loaded from a zip.

    start.py     the program that the launcher runs
    lib/         imported modules: sluice (without distributor and blueprint), agents, the local file system, and their packages
    bundle.json  description: version, python, machine, libc, packages, a digest of our own part, and all other files
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import platform
import re
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sluice.durable import make_directory, replace_atomically
from sluice.errors import NotFoundError, StoreCorruptError, StoreError
from sluice.model.version import VERSION

ROOTS = ("tuf", "securesystemslib", "blake3", "cryptography", "backports.zstd", "psutil")
"""Packages that agents import; their requirements come with them."""
OPTIONAL = ("hdiffpatch",)
"""Packages without which an agent works too: left out if an index has no wheel for the platform. Its deltas are larger then."""
OUR_PACKAGES = ("sluice", "agents", "infra/filesystem/local")
LEFT_OUT = ("sluice/blueprint", "sluice/distributor")
"""Packages of ours that no agent runs."""
OUR_FILES = ("infra/__init__.py", "infra/filesystem/__init__.py")
PYTHON_MIN = (3, 11)
MANYLINUX = ("manylinux_2_17", "manylinux2014", "manylinux_2_24", "manylinux_2_26", "manylinux_2_28", "manylinux_2_34")
MUSLLINUX = ("musllinux_1_1", "musllinux_1_2")
"""Platform tags of wheels that run on today's hosts."""
_EPOCH = (1980, 1, 1, 0, 0, 0)
_NAME = re.compile(r"sluice-agent-(?P<version>[^-]+)-cp(?P<major>\d)(?P<minor>\d+)-(?P<machine>[a-z0-9_]+)-(?P<libc>glibc|musl)\.zip")
_START = """\
import sys

sys.path.insert(0, __file__.rpartition("/")[0] + "/lib")
from agents.main import main

sys.exit(main())
"""


@dataclass(frozen=True, slots=True)
class Platform:
    """The Python, machine and libc that a bundle is made for."""

    python: tuple[int, int]
    machine: str
    libc: str

    @classmethod
    def current(cls) -> Platform:
        """Return the platform of this Python on this machine."""
        return cls(sys.version_info[:2], platform.machine(), platform.libc_ver()[0] or "musl")

    def __str__(self) -> str:
        return f"Python {self.python[0]}.{self.python[1]}, {self.machine}, {self.libc}"

    @property
    def file_name(self) -> str:
        """Return the name of its bundle's file."""
        return f"sluice-agent-{VERSION}-cp{self.python[0]}{self.python[1]}-{self.machine}-{self.libc}.zip"


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle on this machine."""

    path: Path
    platform: Platform
    digest: str
    """SHA-256; its directory on a host has this name."""
    size: int
    ours: str
    """Digest of our own code in it."""

    @property
    def is_current(self) -> bool:
        """Whether it has the code that runs here."""
        return self.ours == digest_of(our_files())


def build_from_installed(directory: Path) -> Bundle:
    """Make the bundle for this Python and machine out of the packages installed here, unless there is a current one."""
    target = Platform.current()
    made = next((bundle for bundle in bundles(directory) if bundle.platform == target and bundle.is_current), None)
    if made is not None:
        return made
    packages = {name: importlib.metadata.version(name) for name in sorted(closure(ROOTS + OPTIONAL))}
    files: dict[str, bytes] = {}
    for name in packages:
        files |= _installed_files(name)
    return _write(directory, target, packages, files)


def build_from_index(directory: Path, target: Platform, *, lock: Path) -> Bundle:
    """Make the bundle for any Python and machine out of wheels that pip fetches.

    Args:
        lock: requirements.lock: only packages that it pins, by hash, are taken.
    Raises:
        StoreError: pip can't get a wheel for it; pip's last words are in the message.
    """
    needed, optional = closure(ROOTS), closure(OPTIONAL)
    with tempfile.TemporaryDirectory(prefix="sluice-wheels-") as temporary:
        wheels = Path(temporary)
        problem = _download(wheels, pins_of(lock.read_text(), sorted(needed)), target)
        if problem:
            raise StoreError(
                f"no agent bundle for {target}: pip: {problem}", remedy="check that an index is reachable and has wheels for it"
            )
        _download(wheels, pins_of(lock.read_text(), sorted(optional - needed)), target)
        packages: dict[str, str] = {}
        files: dict[str, bytes] = {}
        for wheel in sorted(wheels.glob("*.whl")):
            name, version = wheel.name.split("-")[:2]
            packages[name] = version
            files |= _wheel_files(wheel)
    return _write(directory, target, packages, files)


def bundles(directory: Path) -> list[Bundle]:
    """Return the bundles made so far, in name order."""
    return [open_bundle(path) for path in sorted(directory.glob("sluice-agent-*.zip")) if _NAME.fullmatch(path.name)]


def open_bundle(path: Path) -> Bundle:
    """Read a bundle's description. Raises StoreCorruptError."""
    data = path.read_bytes()
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            about = json.loads(archive.read("bundle.json"))
        major, minor = about["python"].split(".")
        target = Platform((int(major), int(minor)), about["machine"], about["libc"])
        return Bundle(path, target, hashlib.sha256(data).hexdigest(), len(data), about["ours"])
    except (zipfile.BadZipFile, ValueError, KeyError) as error:
        raise StoreCorruptError(f"{path} isn't an agent bundle", remedy="delete it, then run: sluice agent build") from error


def choose(directory: Path, candidates: list[Platform], *, host: str) -> Bundle:
    """Return the bundle for the newest of a host's Pythons that has one; it is made now if this machine is of that platform.

    Args:
        candidates: The host's Pythons, as ``host_program.py`` found them.
    Raises:
        NotFoundError: None fits; its remedy says which one to build.
    """
    suitable = sorted((each for each in candidates if each.python >= PYTHON_MIN), key=lambda each: each.python, reverse=True)
    if not suitable:
        found = ", ".join(str(each) for each in candidates) or "none"
        raise NotFoundError(
            f"{host} has no Python of {PYTHON_MIN[0]}.{PYTHON_MIN[1]} or newer (found: {found})",
            remedy="install one there, as python3 in its PATH",
        )
    if Platform.current() in suitable:
        return build_from_installed(directory)
    made = {bundle.platform: bundle for bundle in bundles(directory) if bundle.is_current}
    for each in suitable:
        if each in made:
            return made[each]
    first = suitable[0]
    raise NotFoundError(
        f"{host} needs the agent bundle for {first}, and {directory} has none that is current",
        remedy=f"run: sluice agent build --python {first.python[0]}.{first.python[1]} --arch {first.machine} --libc {first.libc}",
    )


def closure(roots: tuple[str, ...]) -> set[str]:
    """Return the installed packages that ``roots`` need, themselves included; one that isn't installed isn't needed here."""
    found: set[str] = set()
    waiting = list(roots)
    while waiting:
        name = re.sub(r"[-_.]+", "-", waiting.pop()).lower()
        if name in found:
            continue
        try:
            requires = importlib.metadata.requires(name)
        except importlib.metadata.PackageNotFoundError:
            if name in roots:
                raise
            continue
        found.add(name)
        waiting += [re.split(r"[^A-Za-z0-9._-]", each.strip(), maxsplit=1)[0] for each in requires or () if "extra ==" not in each]
    return found


def pins_of(lock: str, names: list[str]) -> str:
    """Return the lock file's entries of these packages, with their hashes and without their conditions: pip judges those itself."""
    wanted = set(names)
    found = []
    for entry in re.split(r"\n(?=\S)", lock.replace("\\\n", " ")):
        match = re.match(r"([A-Za-z0-9._-]+)==(\S+)", entry)
        if match and re.sub(r"[-_.]+", "-", match[1]).lower() in wanted:
            hashes = re.findall(r"--hash=\S+", entry)
            found.append(" ".join([f"{match[1]}=={match[2]}", *hashes]))
    return "\n".join(found) + "\n"


def our_files() -> dict[str, bytes]:
    """Read our own part of a bundle, by path below ``lib``."""
    root = Path(__file__).resolve().parents[2]
    found = {name: (root / name).read_bytes() for name in OUR_FILES}
    for package in OUR_PACKAGES:
        for path in sorted((root / package).rglob("*.py")):
            name = path.relative_to(root).as_posix()
            if not name.startswith(tuple(f"{each}/" for each in LEFT_OUT)):
                found[name] = path.read_bytes()
    return found


def digest_of(files: Mapping[str, bytes]) -> str:
    """Return one SHA-256 of names and contents."""
    total = hashlib.sha256()
    for name, data in sorted(files.items()):
        total.update(f"{len(name)} {name} {len(data)}\n".encode())
        total.update(data)
    return total.hexdigest()


def _download(wheels: Path, pins: str, target: Platform) -> str:
    """Have pip fetch all of these or none; returns its error output if it can't, else nothing."""
    (wheels / "pins").write_text(pins)
    platforms = MUSLLINUX if target.libc == "musl" else MANYLINUX
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps", "--require-hashes"]
    command += ["--only-binary=:all:", "--implementation", "cp", "--python-version", f"{target.python[0]}.{target.python[1]}"]
    command += [option for each in platforms for option in ("--platform", f"{each}_{target.machine}")]
    command += ["--dest", str(wheels), "--requirement", str(wheels / "pins")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else " ".join(done.stderr.split()[-60:]) or f"exit code {done.returncode}"


def _installed_files(name: str) -> dict[str, bytes]:
    distribution = importlib.metadata.distribution(name)
    if distribution.files is None:
        raise NotFoundError(f"the files of the installed package {name} aren't listed", remedy="install it with pip")
    found = {}
    for file in distribution.files:
        path = PurePosixPath(file)
        if _is_wanted(path):
            found[str(path)] = Path(str(distribution.locate_file(file))).read_bytes()
    return found


def _wheel_files(wheel: Path) -> dict[str, bytes]:
    found = {}
    with zipfile.ZipFile(wheel) as archive:
        for name in archive.namelist():
            path = PurePosixPath(re.sub(r"^[^/]+\.data/(purelib|platlib)/", "", name))
            if not name.endswith("/") and _is_wanted(path):
                found[str(path)] = archive.read(name)
    return found


def _is_wanted(path: PurePosixPath) -> bool:
    """Whether a file is importable, or a licence that must be copied too."""
    if path.is_absolute() or ".." in path.parts or path.suffix in (".pyc", ".pyi") or path.parts[0].endswith(".data"):
        return False
    if path.parts[0].endswith(".dist-info"):
        return path.name == "METADATA" or "licens" in str(path).lower()
    return "tests" not in path.parts


def _write(directory: Path, target: Platform, packages: Mapping[str, str], files: Mapping[str, bytes]) -> Bundle:
    ours = our_files()
    about = {
        "version": 1,
        "software": VERSION,
        "python": f"{target.python[0]}.{target.python[1]}",
        "machine": target.machine,
        "libc": target.libc,
        "packages": dict(packages),
        "ours": digest_of(ours),
    }
    content = {f"lib/{name}": data for name, data in {**files, **ours}.items()} | {"start.py": _START.encode()}
    content["bundle.json"] = json.dumps(about | {"files": sorted(content)}, sort_keys=True).encode()
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as bundle:
        for name, data in sorted(content.items()):
            info = zipfile.ZipInfo(name, _EPOCH)
            info.external_attr = 0o600 << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            bundle.writestr(info, data)
    make_directory(directory, 0o755)
    path = directory / target.file_name
    replace_atomically(path, archive.getvalue(), mode=0o644)
    return open_bundle(path)

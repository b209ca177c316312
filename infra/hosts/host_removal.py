"""Take away from a host everything that Sluice put there, and nothing else; a part of ``host_program``.

Rules: look first, and refuse as a whole; what is in the way is named. Whatever an agent works on, or left half done, stays. Distributed
files stay. Each step may be repeated: the name of the Subscriber goes last, with it the directory, unless that isn't ours to remove.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import stat
from typing import Any

from infra.hosts.host_crontab import crontab, fail, hook_line, read, recovery, set_lines

OURS = {"": {"agent", "identity", "distributors"}, "identity": {"subscriber.json", "receipt.pem", "receipt.pub", "lock"}}
"""Names that may stand in the working directory, and in a directory of it."""
OF_A_DISTRIBUTOR = {"lock", "trust", "high-water.json", "quarantine", "distributions"}
OF_A_DISTRIBUTION = {
    *("lock", "status.json", "manifest", "seen", "left", "stood"),
    *("receiving", "revisions", "journal", "receipts"),
}
SHOWN = 10
"""Most paths that a refusal names."""


def remove(directory: str, name: str, dry_run: str) -> dict[str, Any]:
    """Remove the Subscriber ``name`` whose working directory this is, or with ``dry_run`` only look.

    Returns:
        ``hook`` and ``directory``: whether there is a line in the crontab, and the directory; ``stay``: destinations of its Distributions.
    """
    found: dict[str, Any] = {"hook": False, "directory": os.path.lexists(directory), "stay": []}
    if shutil.which("crontab") is not None:
        found["hook"] = hook_line(directory) in crontab()
    with contextlib.ExitStack() as held:
        if found["directory"]:
            look(directory, name, held)
            found["stay"] = destinations(directory)
            found["directory"] = bool(os.listdir(directory)) or is_removable(directory)
        if dry_run == "no":
            if found["hook"]:
                set_lines(hook_line(directory), wanted=False)
            if os.path.lexists(directory):
                take_away(directory)
    return found


def look(directory: str, name: str, held: contextlib.ExitStack) -> None:
    """End with a message unless everything in the directory is this Subscriber's and rests; lock it for as long as ``held``."""
    status = os.lstat(directory)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        fail(f"{directory} isn't a directory of this account")
    with contextlib.suppress(FileNotFoundError):
        owner = str(json.loads(read(directory, "identity", "subscriber.json"))["name"])
        if owner != name:
            fail(f"{directory} belongs to Subscriber {owner}, not to {name}")
    foreign = sorted(strangers(directory))
    if foreign:
        more = f" and {len(foreign) - SHOWN} more" if len(foreign) > SHOWN else ""
        fail(f"not Sluice's, so nothing was removed: {', '.join(foreign[:SHOWN])}{more}: move it away, then repeat")
    for root, _, files in os.walk(os.path.join(directory, "distributors")):
        if "lock" in files:
            fd = os.open(os.path.join(root, "lock"), os.O_RDWR | os.O_NOFOLLOW)
            held.callback(os.close, fd)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                fail(f"the agent works in {root}: wait until it has finished, then repeat")
    for journal in (os.path.join(each, "journal") for each in distributions(directory)):
        if os.path.lexists(journal):
            fail(f"an extraction was interrupted, {journal}: run there: {recovery(directory)}; then repeat")


def strangers(directory: str) -> list[str]:
    """Return the paths in the working directory that aren't Sluice's: other names, links in place of directories, mounted file systems."""
    found = [os.path.join(directory, each) for each in os.listdir(directory) if each not in OURS[""]]
    found += others(os.path.join(directory, "identity"), OURS["identity"])
    agent = os.path.join(directory, "agent")
    found += [path for path in others(agent, {"sluice-agent"}) if not is_digest(os.path.basename(path))]
    distributors = os.path.join(directory, "distributors")
    for distributor in others(distributors, set()):
        found += others(distributor, OF_A_DISTRIBUTOR) if is_directory(distributor) else [distributor]
    for distribution in distributions(directory):
        found += others(distribution, OF_A_DISTRIBUTION) if is_directory(distribution) else [distribution]
    found += [os.path.join(directory, each) for each in OURS[""] if not is_directory(os.path.join(directory, each), missing=True)]
    real = os.path.join(os.path.realpath(directory), "")
    return found + [path for path in mount_points() if path.startswith(real)]


def distributions(directory: str) -> list[str]:
    """Return the directories of all Distributions."""
    distributors = others(os.path.join(directory, "distributors"), set())
    return [path for each in distributors if is_directory(each) for path in others(os.path.join(each, "distributions"), set())]


def others(directory: str, names: set[str]) -> list[str]:
    """Return the paths in a directory that have none of these names, without temporary files; none if it is missing."""
    if not is_directory(directory.rstrip("/")):
        return []
    return [os.path.join(directory, each) for each in os.listdir(directory) if each not in names and not each.startswith(".tmp-")]


def is_directory(path: str, missing: bool = False) -> bool:
    """Whether it is a directory itself, not a link to one."""
    try:
        return stat.S_ISDIR(os.lstat(path).st_mode)
    except FileNotFoundError:
        return missing


def is_removable(directory: str) -> bool:
    """Whether the emptied directory can go too: not from a place of another account's, nor if a file system is mounted on it."""
    return os.access(os.path.dirname(directory), os.W_OK | os.X_OK) and not os.path.ismount(directory)


def is_digest(name: str) -> bool:
    """Whether it is the name of an unpacked bundle."""
    return len(name) == 64 and all(digit in "0123456789abcdef" for digit in name)


def mount_points() -> list[str]:
    """Return where file systems are mounted, single files included; none if the system doesn't tell."""
    with contextlib.suppress(OSError), open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        paths = [line.split(" ")[4] for line in file]
        return [path.replace("\\040", " ").replace("\\011", "\t").replace("\\012", "\n").replace("\\134", "\\") for path in paths]
    return []


def destinations(directory: str) -> list[str]:
    """Return the destinations that were extracted, which stay."""
    found: set[str] = set()
    for root, _, files in os.walk(os.path.join(directory, "distributors")):
        if "status.json" in files:
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
                found.update(str(each) for each in json.loads(read(root, "status.json"))["extracted"]["destinations"])
    return sorted(found)


def take_away(directory: str) -> None:
    """Remove what ``look`` found to be ours: the launcher first, so that nobody starts an agent, and the name last."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(directory, "agent", "sluice-agent"))
    for each in ("agent", "distributors", "identity"):
        if os.path.lexists(os.path.join(directory, each)):
            shutil.rmtree(os.path.join(directory, each))
    if is_removable(directory):
        os.rmdir(directory)

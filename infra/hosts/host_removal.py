"""Take away from a host everything that Sluice put there, and nothing else; a part of ``host_program``.

Rules: look first, and refuse as a whole; what is in the way is named. Whatever an agent works on, or left half done, stays. Distributed
files stay. Each step may be repeated: the name of the Subscriber goes last, with it the directory, unless that isn't ours to remove.
"""

from __future__ import annotations

import contextlib
import fcntl
import glob
import itertools
import json
import os
import re
import shutil
import stat
from typing import Any

from infra.hosts.host_crontab import crontab, fail, hook_line, read, recovery, set_lines

LENT = r"lent-[0-9]+\.(?:ted|json)"
DISTRIBUTION = rf"""
    lock | status\.json | manifest | seen | left | stood | mounted | receipts/ | receipts/[0-9]+\.json
    | receiving/ | receiving/[0-9.]+/ | receiving/[0-9.]+/(?: manifest | [^/]+\.ted(?:\.index|\.part)? | {LENT} | lent-arriving )
    | revisions/ | revisions/[0-9.]+/ | revisions/[0-9.]+/(?: manifest | distfile\.(?:ted|corrupt) | {LENT} )
"""
DISTRIBUTOR = rf"""
    lock | high-water\.json | quarantine/ | quarantine/[0-9]+\.json
    | trust/ | trust/root\.json | trust/metadata/ | trust/metadata/(?: timestamp | snapshot | targets | orders | distribution\.[^/]+ )\.json
    | distributions/ | distributions/[^/]+/ | distributions/[^/]+/(?: {DISTRIBUTION} )
"""
OURS = re.compile(
    rf"""
    identity/ | identity/(?: subscriber\.json | receipt\.pem | receipt\.pub | lock )
    | agent/ | agent/sluice-agent | agent/[0-9a-f]{{64}}/ | agent/[0-9a-f]{{64}}/.*
    | distributors/ | distributors/[^/]+/ | distributors/[^/]+/(?: {DISTRIBUTOR} )
    """,
    re.VERBOSE | re.DOTALL,
)
"""Paths in the working directory (docs/formats.md section 6), directories with / at their end; others aren't Sluice's."""
OURS_WHOLE = re.compile(r"[^/]+/(?:.*/)?\.tmp-.*|distributors/[^/]+/(?:trust/scratch|distributions/[^/]+/journal)/", re.DOTALL)
"""Paths of leftovers that the agent itself removes with everything in them."""
LOOKED_AT_MAX = 100_000
"""Most names that are looked at."""
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
    foreign = strangers(directory)
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
    for journal in glob.glob(os.path.join(glob.escape(directory), "distributors", "*", "distributions", "*", "journal")):
        fail(f"an extraction was interrupted, {journal}: run there: {recovery(directory)}; then repeat")


def strangers(directory: str) -> list[str]:
    """Return everything in the working directory that isn't Sluice's, at any depth: other names and kinds, mounted file systems."""
    found, waiting, number = [], [""], 0
    bundles: dict[str, set[str] | None] = {}
    while waiting:
        below = waiting.pop()
        with os.scandir(os.path.join(directory, below)) as names:
            entries = list(itertools.islice(names, LOOKED_AT_MAX - number + 1))
        number += len(entries)
        if number > LOOKED_AT_MAX:
            fail(f"{directory} has more than {LOOKED_AT_MAX} names: not all were looked at, nothing was removed: move others' away")
        for entry in entries:
            is_directory = entry.is_dir(follow_symlinks=False)
            path = f"{below}{entry.name}/" if is_directory else f"{below}{entry.name}"
            if OURS_WHOLE.fullmatch(path):
                continue
            is_ours = OURS.fullmatch(path) and (is_directory or entry.is_file(follow_symlinks=False))
            if is_ours and path.startswith("agent/") and path.count("/") > 1:
                top = os.path.join(directory, "agent", path.split("/")[1])
                if top not in bundles:
                    bundles[top] = names_of_bundle(top)
                is_ours = is_of_bundle(path.split("/", 2)[2], bundles[top])
            if not is_ours:
                found.append(os.path.join(directory, path.rstrip("/")))
            elif is_directory:
                waiting.append(path)
    real = os.path.join(os.path.realpath(directory), "")
    return sorted(found + [path for path in mount_points() if path.startswith(real)])


def names_of_bundle(top: str) -> set[str] | None:
    """Return the files and directories (with /) of an unpacked bundle; None for one from before bundles listed them."""
    try:
        files = {str(each) for each in json.loads(read(top, "bundle.json"))["files"]}
    except (OSError, ValueError, KeyError, TypeError):
        return None
    parts = [each.split("/") for each in files]
    return files | {"/".join(each[:depth]) + "/" for each in parts for depth in range(1, len(each))} | {"bundle.json"}


def is_of_bundle(path: str, names: set[str] | None) -> bool:
    """Whether a path below an unpacked bundle came with it, or is what Python compiled of it."""
    if path in ("", "start.py", "bundle.json") or (names is None and path.startswith("lib/")):
        return True
    package, cache, compiled = path.rpartition("__pycache__/")
    source = package + compiled.split(".")[0] + ".py" if compiled else package
    return names is not None and (path in names or (bool(cache) and "/" not in compiled and source in names))


def is_removable(directory: str) -> bool:
    """Whether the emptied directory can go too: not from a place of another account's, nor if a file system is mounted on it."""
    return os.access(os.path.dirname(directory), os.W_OK | os.X_OK) and not os.path.ismount(directory)


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

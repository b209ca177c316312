"""The program that bootstrap runs on a host before there is an agent: probes it, unpacks the bundle, sets the recovery hook.

The text of this file and of those beside it that it imports is handed to the host's own Python (``python3 -I -c TEXT VERB ...``, see
``program_text``), so it imports the standard library only, keeps to syntax that Pythons too old for the agent still read (they must tell
their version), and answers in JSON. No agent imports it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import platform
import shlex
import shutil
import stat
import subprocess
import sys
import time
import zipfile
from typing import Any

from infra.hosts.host_crontab import crontab, fail, hook, hook_line, read
from infra.hosts.host_removal import remove

PIECE = 1024 * 1024
MIB = 1024 * 1024
NO_SPACE = 28
"""Exit status if the disk is full."""
UNPACKED_MAX = 1024 * 1024 * 1024
"""Most bytes a bundle unpacks to."""


def probe(directory: str) -> dict[str, Any]:
    """Return everything that bootstrap and check need to know; changes nothing."""
    found: dict[str, Any] = {
        "executable": os.path.realpath(sys.executable),
        "python": list(sys.version_info[:3]),
        "machine": platform.machine(),
        "libc": platform.libc_ver()[0] or "musl",
        "time": time.time(),
        "directory": None,
        "digest": "",
        "name": "",
        "receipt_pub": "",
        "roots": {},
        "crontab": shutil.which("crontab") is not None,
        "hook": False,
        "noexec": noexec_mount(directory),
    }
    with contextlib.suppress(OSError):
        status = os.lstat(directory)
        found["directory"] = {
            "mode": stat.S_IMODE(status.st_mode),
            "is_directory": stat.S_ISDIR(status.st_mode),
            "ours": status.st_uid == os.geteuid(),
        }
    found["digest"] = installed_digest(directory)
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        found["name"] = str(json.loads(read(directory, "identity", "subscriber.json"))["name"])
    with contextlib.suppress(OSError, ValueError):
        found["receipt_pub"] = read(directory, "identity", "receipt.pub").decode("ascii")
    with contextlib.suppress(OSError):
        for name in sorted(os.listdir(os.path.join(directory, "distributors")))[:1000]:
            with contextlib.suppress(OSError):
                found["roots"][name] = hashlib.sha256(read(directory, "distributors", name, "trust", "root.json")).hexdigest()
    if found["crontab"]:
        with contextlib.suppress(OSError):
            found["hook"] = hook_line(directory) in crontab()
    return found


def install(directory: str, digest: str, size: str, needs: str) -> dict[str, Any]:
    """Unpack the bundle on stdin into ``agent/DIGEST``, atomically, and make the launcher start it.

    Args:
        size: Bytes of the bundle.
        needs: Bytes on disk that unpacking takes, the bundle included.
    """
    try:
        return install_bundle(directory, digest, size)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        existing = directory
        while not os.path.isdir(existing):
            existing = os.path.dirname(existing)
        free, status = shutil.disk_usage(existing).free, os.statvfs(existing)
        inodes = ", and no inode (`df -i`)" if status.f_files and not status.f_favail else ""
        needed = f"the agent needs {int(needs) / MIB:.1f} MiB there, {free / MIB:.1f} MiB are free{inodes}"
        fail(f"{directory}: {error.strerror}: {needed}", NO_SPACE)


def install_bundle(directory: str, digest: str, size: str) -> dict[str, Any]:
    """See ``install``."""
    agent = os.path.join(directory, "agent")
    make_directory(directory)
    make_directory(agent)
    target = os.path.join(agent, digest)
    unpacked = False
    if not os.path.isdir(target):
        unpack(agent, target, digest, int(size))
        unpacked = True
    before = installed_digest(directory)
    write_launcher(agent, digest)
    for name in os.listdir(agent):
        stale = name.startswith(".tmp-") or (len(name) == 64 and name not in (digest, before))
        if stale and os.path.isdir(os.path.join(agent, name)):
            shutil.rmtree(os.path.join(agent, name))
        elif stale:
            os.unlink(os.path.join(agent, name))
    return {"unpacked": unpacked}


def noexec_mount(path: str) -> str:
    """Return the mount point of a path if nothing can be run from there; empty if it can."""
    path = os.path.realpath(path)
    while not os.path.exists(path):
        path = os.path.dirname(path)
    if not os.statvfs(path).f_flag & getattr(os, "ST_NOEXEC", 0):
        return ""
    while not os.path.ismount(path):
        path = os.path.dirname(path)
    return path


def installed_digest(directory: str) -> str:
    """Return the digest of the bundle that the launcher starts; empty if there is none."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        for part in read(directory, "agent", "sluice-agent").decode("utf-8").split("/"):
            if len(part) == 64 and os.path.isdir(os.path.join(directory, "agent", part)):
                return part
    return ""


def unpack(agent: str, target: str, digest: str, size: int) -> None:
    """Receive, verify and unpack the bundle, and make it durable; its directory appears whole."""
    temp = os.path.join(agent, f".tmp-{os.getpid()}")
    os.mkdir(temp, 0o700)
    try:
        archive = os.path.join(temp, "bundle")
        total = hashlib.sha256()
        received = 0
        with open(archive, "wb") as file:
            while received < size:
                data = sys.stdin.buffer.read(min(PIECE, size - received))
                if not data:
                    break
                received += len(data)
                total.update(data)
                file.write(data)
        if received != size or total.hexdigest() != digest:
            fail(f"the bundle arrived damaged: {received} of {size} bytes, SHA-256 {total.hexdigest()}")
        unpacked = os.path.join(temp, "whole")
        os.mkdir(unpacked, 0o700)
        with zipfile.ZipFile(archive) as bundle:
            if sum(info.file_size for info in bundle.infolist()) > UNPACKED_MAX:
                fail(f"the bundle unpacks to more than {UNPACKED_MAX} bytes")
            directories = {unpacked}
            for info in bundle.infolist():
                parts = info.filename.split("/")
                if any(part in ("", ".", "..") for part in parts):
                    fail(f"the bundle names {info.filename!r}")
                path = os.path.join(unpacked, *parts)
                os.makedirs(os.path.dirname(path), mode=0o700, exist_ok=True)
                directories.add(os.path.dirname(path))
                fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(bundle.read(info))
                    file.flush()
                    os.fsync(file.fileno())
        for each in sorted(directories):
            sync(each)
        os.rename(unpacked, target)
        sync(agent)
    finally:
        shutil.rmtree(temp)


def write_launcher(agent: str, digest: str) -> None:
    """Write ``agent/sluice-agent``: -I and -S keep environment and site-packages of the host out; names are UTF-8 in any locale."""
    start = os.path.join(agent, digest, "start.py")
    text = "#!/bin/sh\n# Starts Sluice's agent. Written by `sluice subscriber bootstrap`.\n"
    text += f'exec {shlex.quote(os.path.realpath(sys.executable))} -I -S -X utf8 {shlex.quote(start)} "$@"\n'
    temp = os.path.join(agent, f".tmp-launcher-{os.getpid()}")
    fd = os.open(temp, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
    with os.fdopen(fd, "wb") as file:
        file.write(text.encode())
        file.flush()
        os.fsync(file.fileno())
    os.rename(temp, os.path.join(agent, "sluice-agent"))
    sync(agent)


def make_directory(path: str) -> None:
    """Create a directory of this account alone, and its missing parents."""
    if not os.path.isdir(path):
        parent = os.path.dirname(path)
        if not os.path.isdir(parent):
            os.makedirs(parent, mode=0o755, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.mkdir(path, 0o700)
        sync(parent)
    status = os.lstat(path)
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
        fail(f"{path} isn't a directory of this account: choose another working_directory, or log in as the account whose it is")
    if status.st_mode & 0o022 and os.listdir(path):
        fail(f"others could write to {path}, which isn't empty: look for their files, then chmod 700 it, or remove it")
    os.chmod(path, 0o700)


def sync(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def main(verb: str, *arguments: str) -> dict[str, Any]:
    """Run a verb."""
    verbs: dict[str, Any] = {"probe": probe, "install": install, "hook": hook, "remove": remove}
    answer: dict[str, Any] = verbs[verb](*arguments)
    return answer


if __name__ == "__main__":
    try:
        sys.stdout.write(json.dumps(main(*sys.argv[1:])) + "\n")
    except (OSError, zipfile.BadZipFile, subprocess.CalledProcessError) as error:
        fail(str(error))

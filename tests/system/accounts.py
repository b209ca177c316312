"""Real accounts for tests of logins: made as root with a login shell, a home and a password, and removed at the end."""

from __future__ import annotations

import pwd
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import psutil

from sluice.model.site import Subscriber
from tests.system.sshd import Sshd


@dataclass(frozen=True)
class Account:
    """An account of this machine, reached by sshd hosts that have its ``match``."""

    name: str
    home: Path
    password: str

    def match(self, *lines: str) -> tuple[str, ...]:
        """Return sshd's settings for it alone; ``lines`` first, which therefore count."""
        settings = (*lines, f"AuthorizedKeysFile {self.home}/authorized_keys", f"SetEnv HOME={self.home} PATH=/usr/local/bin:/usr/bin:/bin")
        return (f"Match User {self.name}", *settings)

    def on(self, host: Sshd) -> Subscriber:
        """Return it as a Subscriber on a host, with a space in its working directory."""
        found = host.subscriber
        place = PurePosixPath(self.home / "a place" / "sluice")
        return replace(found, address=replace(found.address, user=self.name), working_directory=place)

    def rule(self, *lines: str) -> None:
        """Write its lines of sudoers; ``{}`` stands for its name."""
        _rules(self.name).write_text("".join(line.format(self.name) + "\n" for line in lines))
        _rules(self.name).chmod(0o440)


def _rules(name: str) -> Path:
    return Path("/etc/sudoers.d") / name


def _end_processes(uid: int) -> None:
    """End what still runs as an account: sessions, and what they started."""
    deadline = time.monotonic() + 60
    while found := [each for each in psutil.process_iter(["uids", "status"]) if each.info["uids"] and each.info["uids"].real == uid]:
        alive = [each for each in found if each.info["status"] != psutil.STATUS_ZOMBIE]
        if not alive or time.monotonic() > deadline:
            return
        for each in alive:
            with suppress(psutil.Error):
                each.kill()
        psutil.wait_procs(alive, timeout=1)


@contextmanager
def account(identity: Path, *, shell: str = "/bin/sh") -> Iterator[Account]:
    """Make an account whose authorized key is ``identity``'s. It is removed at the end, with everything it has."""
    place = Path(tempfile.mkdtemp(prefix="sluice-account-", dir="/tmp"))
    place.chmod(0o755)
    made = Account(f"sluice-{secrets.token_hex(4)}", place / "home", secrets.token_hex(8))
    try:
        subprocess.run(["useradd", "--create-home", "--home-dir", str(made.home), "--shell", shell, made.name], check=True)
        subprocess.run(["chpasswd"], input=f"{made.name}:{made.password}".encode(), check=True)
        made.home.chmod(0o755)
        (made.home / "authorized_keys").write_text(identity.with_name(identity.name + ".pub").read_text())
        yield made
    finally:
        with suppress(KeyError):
            _end_processes(pwd.getpwnam(made.name).pw_uid)
            subprocess.run(["userdel", "--force", made.name], check=True)
        _rules(made.name).unlink(missing_ok=True)
        shutil.rmtree(place, ignore_errors=True)

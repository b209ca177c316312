"""A whole site on real sshd hosts, used through the ``sluice`` command as a user would.

``SiteLab`` writes the blueprints, holds the source tree, and runs commands against one Prefect server. Trees are described by path, so
that what stands on a Subscriber can be compared with what the Distributor has: kind, mode, mtime, content, link target.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cli.ledgers import site_snapshot
from infra.ledger.sql import open_ledger
from infra.workplace import open_workplace
from sluice.blueprint import load_site
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.model.event import EventKind, RecordedEvent
from sluice.rules.reasons import status_rows
from tests.system.sshd import Sshd, lab
from tests.system.warm import Command, Warm

PATIENCE = 180.0
"""Seconds any condition of these tests may take; a few are usual."""
COMMAND_SECONDS = 240.0
RETRY_EVERY = 1
"""Seconds, instead of TED's 2 minutes."""


def until(condition: Callable[[], Any], what: str, *, seconds: float = PATIENCE) -> Any:
    """Poll until it holds, and return what it returned.

    Between two questions it sleeps four times as long as one took, half a second at most: one that starts a process or opens a
    connection would take a core from what it waits for.
    """
    deadline = time.monotonic() + seconds
    while True:
        begun = time.monotonic()
        if found := condition():
            return found
        now = time.monotonic()
        assert now < deadline, f"after {seconds:.0f} s still not: {what}"
        time.sleep(min(max(0.01, 4 * (now - begun)), 0.5))


class SiteLab:
    """One Distributor ``hq``, one Distribution ``zone``, and as many Subscribers as there are hosts."""

    def __init__(self, directory: Path, hosts: Sequence[Sshd], identity: Path, warm: Warm, *, api_url: str) -> None:
        self._warm = warm
        self.directory, self.hosts = directory, {host.name: host for host in hosts}
        self.site, self.source, self.hq = directory / "site", directory / "source", directory / "hq"
        self._identity = identity
        self.site.mkdir(parents=True)
        self.source.mkdir()
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith(("PREFECT_", "SLUICE_"))} | {
            "SLUICE_SITE": str(self.site),
            "SLUICE_STATE": str(directory / "state"),
            "PREFECT_HOME": os.environ["PREFECT_HOME"],
            "PREFECT_API_URL": api_url,
            "DO_NOT_TRACK": "1",
        }
        self.write_site()

    def write_site(self) -> None:
        """The blueprints, from what the hosts are now."""
        documents = [
            {
                "kind": "Distributor",
                "name": "hq",
                "working_directory": str(self.hq),
                "connection_timeout": "20 s",
                "retry": {"every": f"{RETRY_EVERY} s", "for": "40 s"},
            },
            {"kind": "Channel", "name": "all", "send": "never", "subscribers": sorted(self.hosts)},
            {
                "kind": "Distribution",
                "name": "zone",
                "distributor": "hq",
                "type": "file",
                "channels": ["all"],
                "files": [{"source": str(self.source), "destination": "{{ DEST }}/zone"}],
            },
        ]
        documents += [self._subscriber(host) for host in self.hosts.values()]
        text = "\n---\n".join(json.dumps(each) for each in documents)
        (self.site / "site.yaml").write_text(text + "\n")

    def _subscriber(self, host: Sshd) -> dict[str, Any]:
        subscriber = host.subscriber
        return {
            "kind": "Subscriber",
            "name": host.name,
            "address": str(subscriber.address),
            "host_key": subscriber.host_key,
            "identity": str(self._identity),
            "working_directory": str(subscriber.working_directory),
            "variables": {"DEST": str(host.home)},
            "extract": "never",
        }

    # --- commands ---------------------------------------------------------------------------------------------------------

    def start(self, *arguments: str, **environment: str) -> Command:
        """Start a command; its output is read by ``finish``."""
        return self._warm.start(*arguments, environment=self.environment | environment)

    def finish(self, process: Command, *, ok: bool | None = True) -> str:
        """Wait for its end and return what it said. ``ok`` None: whether it succeeds is not asked."""
        with process:
            output, _ = process.communicate(timeout=COMMAND_SECONDS)
        assert ok is None or (process.returncode == 0) is ok, f"{process.args!r} ended with {process.returncode}:\n{output}"
        return output

    def sluice(self, *arguments: str, ok: bool | None = True) -> str:
        """Run a command to its end."""
        return self.finish(self.start(*arguments), ok=ok)

    def ask(self, *arguments: str) -> Any:
        """What a command answers as JSON."""
        with self._warm.start(*arguments, "--json", environment=self.environment, apart=True) as process:
            output, errors = process.communicate(timeout=COMMAND_SECONDS)
        assert output, errors
        return json.loads(output)

    def bootstrap(self) -> None:
        """Keys, then agent, trust and working directory on every host."""
        self.sluice("trust", "init", "hq")
        self.sluice("subscriber", "bootstrap", "--all")

    def rows(self) -> dict[str, dict[str, Any]]:
        """What ``sluice status --json`` prints, by Subscriber; read here, because it is asked often."""
        site = load_site(self.site)
        rows = [row.as_json() for row in status_rows(site, site_snapshot(site), datetime.now(UTC))]
        return {str(row["subscriber"]): dict(row) for row in rows}

    def build(self) -> None:
        """Build and sign ``zone``, as the tasks do, where no test asks how a command does it."""
        with open_workplace(self.site, "hq") as work:
            build_recorded(work, "zone")
            sign_recorded(work, ("zone",))

    # --- places -----------------------------------------------------------------------------------------------------------

    def destination(self, name: str) -> Path:
        """Where ``zone`` is extracted on a host."""
        return self.hosts[name].home / "zone"

    def launcher(self, name: str) -> Path:
        """What starts the agent there."""
        return self.working_directory(name) / "agent" / "sluice-agent"

    def working_directory(self, name: str) -> Path:
        """Of a Subscriber."""
        return Path(self.hosts[name].subscriber.working_directory)

    def held(self, name: str) -> Path:
        """What a Subscriber holds of ``zone``."""
        return self.working_directory(name) / "distributors" / "hq" / "distributions" / "zone"

    def receiving(self, name: str) -> int:
        """Bytes that have arrived of a ``.ted`` that is under way."""
        return sum(path.stat().st_size for path in self.held(name).glob("receiving/*/*.part"))

    def events(self, kind: EventKind, *, after: int = 0) -> list[RecordedEvent]:
        """What the ledger recorded of one kind, oldest first."""
        ledger = open_ledger(self.hq / "ledger.db")
        try:
            return [each for each in ledger.events(after=after, limit=100_000) if each.event.kind is kind]
        finally:
            ledger.close()

    def leftovers(self, name: str) -> list[str]:
        """What a whole extraction may not leave: staging, temporary names, arriving revisions, journals, held locks."""
        held = self.held(name)
        found = [str(path) for path in self.hosts[name].home.rglob(".sluice-*")]
        found += [str(path) for path in self.working_directory(name).rglob(".tmp-*")]
        found += [str(path) for path in self.hq.rglob(".tmp-*")]
        found += [str(path) for place in ("receiving", "journal") for path in held.glob(f"{place}/*")]
        found += [str(path) for path in held.glob("receipts/*") if not self._is_kept(name, path)]
        return found + [f"{path} is locked" for path in (held / "lock", held.parents[1] / "lock") if _is_locked(path)]

    def _is_kept(self, name: str, receipt: Path) -> bool:
        """Whether the Distributor has it: an agent killed before it heard so is told at the next contact."""
        with closing(open_ledger(self.hq / "ledger.db")) as ledger:
            kept = ledger.receipt("hq", name, int(receipt.stem))
        with suppress(FileNotFoundError):
            return kept is not None and json.loads(kept) == json.loads(receipt.read_bytes())
        return True

    def assert_converged(self, name: str, *, kept: Iterable[str] = ()) -> None:
        """The host has what the Distributor has, and nothing else beside it but what earlier revisions placed (``kept``)."""
        found, wanted = described(self.destination(name)), described(self.source)
        assert {path: each for path, each in found.items() if path in wanted} == wanted
        assert {path for path in found.keys() - wanted.keys() if found[path][0] == "file"} <= set(kept)
        until(lambda: not self.leftovers(name), f"nothing left over: {self.leftovers(name)}", seconds=60)

    def move(self, name: str, port: int) -> None:
        """The host answers on another port from now on, says its blueprint."""
        self.hosts[name].port = port
        self.write_site()


def _is_locked(path: Path) -> bool:
    try:
        with open(path, "rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


# --- trees ----------------------------------------------------------------------------------------------------------------


def described(tree: Path) -> dict[str, tuple[object, ...]]:
    """Every path below (and the tree itself): kind, permission bits, mtime, content or link target."""
    found: dict[str, tuple[object, ...]] = {}
    for path in [tree, *tree.rglob("*")]:
        status, name = path.lstat(), str(path.relative_to(tree))
        if stat.S_ISLNK(status.st_mode):
            found[name] = ("link", os.readlink(path))
        elif stat.S_ISDIR(status.st_mode):
            found[name] = ("directory", stat.S_IMODE(status.st_mode), status.st_mtime_ns)
        else:
            found[name] = ("file", stat.S_IMODE(status.st_mode), status.st_mtime_ns, path.read_bytes())
    return found


def write_tree(root: Path, files: Mapping[str, bytes]) -> None:
    """Make ``root`` hold exactly these files; what is the same stays untouched."""
    for path in [path for path in root.rglob("*") if path.is_file() and str(path.relative_to(root)) not in files]:
        path.unlink()
    for name, content in files.items():
        place = root / name
        if not place.exists() or place.read_bytes() != content:
            place.parent.mkdir(parents=True, exist_ok=True)
            place.write_bytes(content)


def two_trees(seed: int, *, files: int = 120, blob: int = 5 * 1024 * 1024) -> tuple[dict[str, bytes], dict[str, bytes]]:
    """An old and a new tree of the same seed: small files, of which a third changes, some come; a blob nothing can compress."""
    rng = random.Random(seed)
    old = {f"d{n % 7}/f{n:04}": rng.randbytes(rng.randrange(1, 3000)) for n in range(files)}
    old["blob"] = rng.randbytes(blob)
    new = dict(old)
    for name in rng.sample(sorted(old), files // 3):
        new[name] = rng.randbytes(len(old[name]))
    new["blob"] = rng.randbytes(blob)
    new |= {f"new/f{n}": rng.randbytes(500) for n in range(5)}
    return old, new


@contextmanager
def site_lab(real_part: Callable[[str], Path], warm: Warm, api_url: str, bundles: Path, directory: Path, *names: str) -> Iterator[SiteLab]:
    """Hosts of these names, answering and bootstrapped, and a site over them; everything is ended on leaving."""
    (directory / "ssh").mkdir()
    with lab(directory / "ssh", real_part) as ssh:
        made = SiteLab(directory / "lab", [ssh.host(name) for name in names], ssh.identity, warm, api_url=api_url)
        (directory / "lab/state").mkdir(mode=0o700)
        (directory / "lab/state/agent-bundles").symlink_to(bundles)
        made.bootstrap()
        yield made


OpenLab = Callable[..., AbstractContextManager[SiteLab]]
"""What the fixture ``open_lab`` is: ``site_lab`` with the parts that all tests share, for a directory and the hosts' names."""

"""Run the demo: one Distributor, three Subscribers over SSH, two releases of the time zone database, one host that is down at first.

All its files are below ``.demo``; the downloaded releases stay there for the next run. It ends by itself; with ``KEEP=1`` it runs
until Ctrl-C, to leave time for the Prefect UI. The exit code says whether every Subscriber's tree equals its release.
"""

from __future__ import annotations

import fcntl
import getpass
import os
import shutil
import signal
import sys
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path
from string import Template
from types import FrameType

from demo import releases
from demo.hosts import Host, end_tree, free_port, is_free, make_key, start_hosts, stop_hosts
from demo.leftovers import StartedProcesses
from demo.narrator import DemoError, Narrator, Running
from demo.trees import count_files, differences

DIRECTORY = Path(__file__).resolve().parents[1] / ".demo"
SUBSCRIBERS = ("helsinki", "tartu", "oslo")
LATE = "oslo"
"""The Subscriber that is down while the first revision is sent."""
DISTRIBUTION = "timezones"
UI_PORT = 4200


class Demo:
    """One run of it."""

    def __init__(self, directory: Path, *, keep: bool) -> None:
        self.directory, self.keep = directory, keep
        self.site, self.source = directory / "site", directory / "source" / "zoneinfo"
        # A Prefect server that the user works with must not be used.
        for name in [name for name in os.environ if name.startswith(("PREFECT_", "SLUICE_"))]:
            del os.environ[name]
        environment = {"SLUICE_STATE": str(directory / "state"), "PREFECT_HOME": str(directory / "state" / "prefect"), "DO_NOT_TRACK": "1"}
        self.started = StartedProcesses(directory / "started")
        self.narrator = Narrator(self.site, environment, directory, self.started)
        self.hosts: dict[str, Host] = {}
        self.arrived: list[list[str]] = []
        self.wire: dict[str, int] = dict.fromkeys(SUBSCRIBERS, 0)

    def run(self) -> bool:
        """Run all steps; whether every tree equals its release."""
        with ExitStack() as stack:
            self._prepare(stack)
            up, port = self._start_prefect(stack)
            self._bootstrap()
            self.narrator.wait_until("Prefect answers", lambda: up.has_printed("Prefect: "))
            self.narrator.say(f"Prefect's UI: http://127.0.0.1:{port}")
            equal = self._first_release()
            equal = self._second_release() and equal
            self._results(port, equal)
            if self.keep:
                self.narrator.step(
                    f"KEEP=1: Prefect's UI runs on at http://127.0.0.1:{port}, the site is {self.site}. Ctrl-C ends everything."
                )
                with suppress(KeyboardInterrupt):
                    signal.pause()
                print("\nEnding every process of the demo.")
        return equal

    def _prepare(self, stack: ExitStack) -> None:
        narrator, directory = self.narrator, self.directory
        print("Sluice: one Distributor sends two releases of the IANA time zone database to three Subscribers over SSH.")
        narrator.step("fetch two releases from the package index, start three SSH servers, write the site")
        fetched = directory / "releases"
        fetched.mkdir(exist_ok=True)
        self.released = releases.fetch(fetched)
        make_key(self.site / "keys" / "hq_ed25519")
        stack.callback(lambda: stop_hosts(self.hosts))
        self.hosts = start_hosts(SUBSCRIBERS, directory / "hosts", self.site / "keys" / "hq_ed25519", self.started)
        names = {"directory": str(directory), "user": getpass.getuser()}
        for name, host in self.hosts.items():
            names |= {f"port_{name}": str(host.port), f"host_key_{name}": host.host_key}
        for template in sorted((Path(__file__).parent / "site").glob("*.yaml")):
            (self.site / template.name).write_text(Template(template.read_text()).substitute(names))
        kinds = sorted({host.kind for host in self.hosts.values()})
        narrator.say(f"Subscribers: {', '.join(f'{h.name} (port {h.port})' for h in self.hosts.values())}, each an {' or '.join(kinds)}")
        narrator.say(f"site: {self.site}")
        narrator.run("validate")

    def _start_prefect(self, stack: ExitStack) -> tuple[Running, int]:
        port = UI_PORT if is_free(UI_PORT) else free_port()
        self.narrator.step("start Prefect's server and workers on loopback, with SQLite, in the background")
        up = self.narrator.begin("up", "--port", str(port))
        stack.callback(lambda: end_tree(up.process, patience=30))
        return up, port

    def _bootstrap(self) -> None:
        self.narrator.step("make the Distributor's keys; then install agent, trust and working directory on each Subscriber, over SSH")
        self.narrator.run("trust", "init", "hq")
        self.narrator.run("subscriber", "bootstrap", "--all")

    def _first_release(self) -> bool:
        narrator, late = self.narrator, self.hosts[LATE]
        release = releases.RELEASES[0]
        narrator.step(f"{LATE} goes down. Release {release} is put into the source directory and distributed to all three")
        late.stop()
        releases.replace_tree(self.released[release], self.source)
        began = datetime.now(UTC)
        running = narrator.begin("distribute", DISTRIBUTION)
        narrator.wait_until(f"all but {LATE} have it", lambda: running.is_running() and self._states() == self._all_but_late())
        narrator.run("status", DISTRIBUTION)
        self._note(release, began, names=[name for name in SUBSCRIBERS if name != LATE])
        narrator.step(f"{LATE} comes up; the sender retries by itself (every 3 s in this demo, every 2 minutes by default)")
        late.start()
        running.finish()
        self._note(release, began, names=[LATE])
        narrator.run("why", LATE, DISTRIBUTION)
        return self._equal(release)

    def _second_release(self) -> bool:
        narrator, release = self.narrator, releases.RELEASES[1]
        narrator.step(f"release {release} replaces it; only the differences are sent")
        releases.replace_tree(self.released[release], self.source)
        began = datetime.now(UTC)
        narrator.run("distribute", DISTRIBUTION)
        self._note(release, began, names=list(SUBSCRIBERS))
        narrator.step("nothing has changed since: no new revision")
        narrator.run("build", DISTRIBUTION)
        narrator.run("revisions", DISTRIBUTION)
        return self._equal(release)

    def _results(self, port: int, equal: bool) -> None:
        narrator = self.narrator
        narrator.step("the releases on each Subscriber")
        head = ["subscriber", "release", "revision", "files", "content", "on the wire", "installed after", "tree"]
        widths = [max(len(row[i]) for row in [head, *self.arrived]) for i in range(len(head))]
        for row in [head, *self.arrived]:
            narrator.say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)))
        verdict = "Every tree equals its release: content, mode and time." if equal else "A TREE DIFFERS FROM ITS RELEASE, see above."
        narrator.say(f"\n{verdict}")
        narrator.say(
            f"Prefect's UI: http://127.0.0.1:{port}" + ("" if self.keep else " (it ends with the demo; make demo KEEP=1 keeps it)")
        )
        narrator.say(f"The demo took {narrator.seconds:.0f} s.")

    def _rows(self) -> dict[str, dict[str, object]]:
        return {row["subscriber"]: row for row in self.narrator.ask("status", DISTRIBUTION)["rows"]}

    def _states(self) -> dict[str, str]:
        return {name: str(row["state"]) for name, row in self._rows().items()}

    def _all_but_late(self) -> dict[str, str]:
        return {name: "unavailable" if name == LATE else "installed" for name in SUBSCRIBERS}

    def _note(self, release: str, began: datetime, *, names: list[str]) -> None:
        """Add a row to the final table for each of these Subscribers, and compare its tree with the release."""
        files, size = count_files(self.released[release])
        rows = self._rows()
        for name in names:
            sent = int(str(rows[name]["bytes_sent"]))
            verdict = "equal" if not differences(self.released[release], self._destination(name)) else "DIFFERS"
            seconds = (datetime.fromisoformat(str(rows[name]["since"])) - began).total_seconds()
            after = f"{max(0.0, seconds):.0f} s" + (", by retry" if name == LATE and len(names) == 1 else "")
            wire = f"{(sent - self.wire[name]) / 1024:.1f} KiB"
            self.arrived.append([name, release, str(rows[name]["extracted"]), str(files), f"{size / 1024:.1f} KiB", wire, after, verdict])
            self.wire[name] = sent

    def _equal(self, release: str) -> bool:
        found = {name: differences(self.released[release], self._destination(name)) for name in SUBSCRIBERS}
        for name, differing in found.items():
            for line in differing[:10]:
                self.narrator.say(f"{name}: {line}")
        return not any(found.values())

    def _destination(self, name: str) -> Path:
        return self.directory / "hosts" / name / "opt" / "zoneinfo"


def main() -> int:
    """Run the demo: exit code 0 if every tree equals its release, 1 if not, 2 if the demo could not be carried out."""
    # SIGINT too: a script's `make demo &` passes it on as ignored, and Python does not change that.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)
    DIRECTORY.mkdir(exist_ok=True)
    with open(DIRECTORY / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            print(f"Another demo is running in {DIRECTORY}: end it first.", file=sys.stderr)
            return 2
        if ended := StartedProcesses(DIRECTORY / "started").end_remaining():
            print(f"An earlier demo was killed; its processes were ended: {', '.join(ended)}.")
        for path in DIRECTORY.iterdir():
            if path.is_dir() and path.name != "releases":
                shutil.rmtree(path)
        try:
            return 0 if Demo(DIRECTORY, keep=os.environ.get("KEEP", "") not in ("", "0")).run() else 1
        except (DemoError, RuntimeError, releases.NoReleaseError) as error:
            print(f"\nThe demo failed: {error}\nLook for the cause in {DIRECTORY}.", file=sys.stderr)
            return 2
        except KeyboardInterrupt:
            print("\nInterrupted.", file=sys.stderr)
            return 130


def _interrupted(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())

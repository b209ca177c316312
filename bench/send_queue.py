"""Measure what a send run costs the Distributor if every Subscriber holds everything: CPU of the flow run's own process, per Subscriber.

    python -m bench.send_queue [--subscribers 1000] [--json FILE]

A site with that many ``local:`` Subscribers in a temporary directory, a Prefect server on SQLite of its own, one of them sent to
and extracted, its files and state copied to the others. Then, each in a process of its own:

    receipts    a send run that has nothing to do, by the receipts
    check       a send run that calls every host (``--check``); the agents are its children and are counted apart
    empty tasks a flow run of one empty task run a Subscriber: Prefect's own share if each has a task run
    waiting     60 s of that many tickets that wait for one slot: the queue's watch by itself, no Prefect

Seconds are user and system time of the process, imports left out; its children's beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import resource
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, cast

from bench.processes import cpu, prefect_server, run, write_agent
from bench.site import trust_distributor, write_site

WAITING_SECONDS = 60.0


def main() -> None:
    """Set up, measure, and print a table; write it as JSON on request."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--subscribers", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--kind", choices=KINDS, help=argparse.SUPPRESS)
    parser.add_argument("--site", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.kind:
        measured(arguments.kind, arguments.site, arguments.subscribers)
        return
    with tempfile.TemporaryDirectory(prefix="sluice-bench-") as directory:
        found = compare(Path(directory), arguments.subscribers)
    print(f"{'':12} {'own CPU':>10} {'/Subscriber':>12} {'children':>10} {'elapsed':>10}")
    for kind, each in found.items():
        own = each["cpu"]
        print(f"{kind:12} {own:8.2f} s {1000 * own / arguments.subscribers:9.2f} ms {each['children']:8.2f} s {each['elapsed']:8.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({"subscribers": arguments.subscribers, "kinds": found}, indent=1) + "\n")


def compare(directory: Path, count: int) -> dict[str, Mapping[str, float]]:
    """Run every kind once, on one site: seconds of own CPU, of the children's, and elapsed."""
    site = make_site(directory / "site", count)
    found = {}
    with prefect_server(directory, site) as environment:
        # Raises if it fails.
        once = "import asyncio; from flows.distribute import distribute; asyncio.run(distribute('zone', to=['host-0000']))"
        run([sys.executable, "-c", once], log=directory / "log", environment=environment)
        copy_to_others(site, count)
        for kind in KINDS:
            command = [sys.executable, "-m", "bench.send_queue", "--kind", kind, "--subscribers", str(count), "--site", str(site)]
            found[kind] = run(command, log=directory / "log", environment=environment).figures
    return found


def make_site(directory: Path, count: int) -> Path:
    """Make a Distributor, a small Distribution, and ``count`` Subscribers whose agents trust it and run from this checkout."""
    from infra.workplace import open_workplace

    (directory / "files").mkdir(parents=True)
    (directory / "files" / "Helsinki").write_text("UTC+2")
    homes = {f"host-{number:04}": directory / "hosts" / f"host-{number:04}" for number in range(count)}
    hosts = [
        {"name": name, "address": f"local:{home}", "working_directory": f"{home}/sluice", "variables": {"DEST": f"{home}/zone"}}
        for name, home in homes.items()
    ]
    zone = {"name": "zone", "files": [{"source": str(directory / "files"), "destination": "{{ DEST }}"}]}
    write_site(directory, directory / "hq", hosts, [zone])
    agent = directory.parent / "agent"
    write_agent(agent)
    with open_workplace(directory, "hq") as work:
        work.publisher.ensure_keys(datetime.now(UTC))
        for name, home in homes.items():
            (home / "sluice").mkdir(parents=True, mode=0o700)
            (home / "sluice" / "agent").symlink_to(agent)
            trust_distributor(work, name)
    return directory


def copy_to_others(site: Path, count: int) -> None:
    """Copy the first Subscriber's state to all others, as if it had been sent: a thousand real sends take many minutes."""
    from infra.workplace import open_workplace
    from sluice.model.event import Event, EventKind
    from sluice.model.state import CurrentState, Record

    held = "sluice/distributors/hq/distributions"
    with open_workplace(site, "hq") as work:
        first = work.ledger.state("host-0000", "zone")

        def installed(state: CurrentState) -> CurrentState:
            return replace(first, subscriber=state.subscriber)

        records = []
        for number in range(1, count):
            name = f"host-{number:04}"
            shutil.copytree(site / "hosts/host-0000" / held, site / "hosts" / name / held)
            shutil.copy(site / "hosts/host-0000/sluice/distributors/hq/high-water.json", site / "hosts" / name / "sluice/distributors/hq")
            records.append(Record(Event(work.clock.now(), EventKind.INSTALLED, "hq", "zone", None, name), installed))
        work.ledger.record_all(records)


def measured(kind: str, site: Path, count: int) -> None:
    """Run one kind in this process; its figures are the last line printed."""
    work = KINDS[kind](site, count)
    began, own, children = time.monotonic(), time.process_time(), cpu(resource.RUSAGE_CHILDREN)
    work()
    figures = {
        "cpu": time.process_time() - own,
        "children": cpu(resource.RUSAGE_CHILDREN) - children,
        "elapsed": time.monotonic() - began,
    }
    print(json.dumps(figures))


def sends(_site: Path, count: int, *, check: bool = False) -> Callable[[], None]:
    """Return a send run; with ``check`` it calls every host."""
    from flows.send import send

    def work() -> None:
        state = asyncio.run(cast(Any, send)(channel="all", check=check, return_state=True))  # Prefect types it as awaitable only
        wanted = f"send all: {count} of {count} Subscriber{'' if count == 1 else 's'} done" if check else "nothing was due"
        if state.message != wanted:
            raise RuntimeError(f"the flow run ended {state}")

    return work


def empty_tasks(_site: Path, count: int) -> Callable[[], None]:
    """Return a flow run of empty task runs, with the settings of ours."""
    from prefect import flow, task

    from tasks.settings import COMMON

    @task(**COMMON)
    async def nothing(name: str) -> str:
        return name

    @flow(persist_result=False)
    async def empty() -> None:
        await asyncio.gather(*(nothing(f"host-{number:04}") for number in range(count)))

    return lambda: asyncio.run(empty())


def waits(site: Path, count: int) -> Callable[[], None]:
    """Return a run of tickets that wait for one slot, which another process has."""
    from infra.workplace import open_workplace
    from sluice.distributor.send_queue.watch import QueueWatch
    from sluice.model.assignment import Assignment
    from sluice.model.event import Event, EventKind
    from sluice.model.revision import RevisionNumber
    from sluice.model.site import Priority
    from sluice.model.state import Record
    from sluice.model.ticket import Ticket, Waiting

    place = open_workplace(site, "hq")
    now, ledger = place.clock.now(), place.ledger

    def ticket(host: str) -> Ticket:
        assignment = Assignment(host, "zone", RevisionNumber(1, 1), priority=Priority.LOW)
        found = ledger.enqueue("bench", assignment, host[:4], lease_seconds=300, now=now)
        assert isinstance(found, Ticket)
        return found

    def began() -> Record:
        return Record(Event(now, EventKind.SEND_STARTED))

    other = ticket("other")
    ledger.take_turns("bench", [other.number], [other.number], lambda _: began(), limit=1, now=now)
    watch = QueueWatch("bench", 1, ledger=ledger, clock=place.clock)
    turns = [watch.keep(ticket(f"host-{number:04}"), lambda: None) for number in range(count)]
    for turn in turns:
        turn.ask(began, stopped_by=lambda _: None, on_decision=lambda: None)
    watch.start()
    while not all(isinstance(turn.decision, Waiting) for turn in turns):
        time.sleep(0.1)
    return lambda: time.sleep(WAITING_SECONDS)


KINDS: Mapping[str, Callable[[Path, int], Callable[[], None]]] = {
    "receipts": sends,
    "check": partial(sends, check=True),
    "empty tasks": empty_tasks,
    "waiting": waits,
}


if __name__ == "__main__":
    main()

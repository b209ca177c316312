"""``python -m bench.deltas_drive STEP SITE``: run one step of a Distributor in a process of its own, so that CPU time and memory are known.

Steps: ``trust`` (keys, agent), ``build`` (scan, revision, signature), ``delta`` (the newest revision's delta again, alone), ``apply`` (its
contents rebuilt, alone), ``send`` (the newest revision to a real agent, and its extraction). Each prints its figures as a JSON line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from bench.processes import PeakWatch, cpu
from tests.system.sshd import children

DISTRIBUTION = "zone"
HOST = "host"
BLUEPRINTS = "blueprints"
"""Directory of the blueprints, apart from the trees, which may contain YAML files."""
TIMEOUT = 1200.0
"""Seconds without progress: completing a large tree on a busy machine takes long."""


def trust(site: Path) -> Mapping[str, object]:
    """Make keys of the Distributor, and an agent that trusts it."""
    from agents.init import init
    from agents.init import trust as trust_distributor
    from infra.workplace import open_workplace

    with open_workplace(site / BLUEPRINTS, "hq") as work:
        work.publisher.ensure_keys(datetime.now(UTC))
        directory = Path(work.site.subscriber(HOST).working_directory)
        work.publisher.keep_subscriber_key(HOST, init(directory, HOST))
        trust_distributor(directory, "hq", work.publisher.root())
    return {}


def build(site: Path) -> Mapping[str, object]:
    """Build a revision of the current source."""
    from infra.sources.files import FilesSource  # noqa: F401 - imports are no part of the CPU time
    from infra.workplace import open_workplace
    from sluice.distributor.build.record import build_recorded, sign_recorded

    with open_workplace(site / BLUEPRINTS, "hq") as work:
        began = cpu(resource.RUSAGE_SELF)
        result = build_recorded(work, DISTRIBUTION)
        spent = cpu(resource.RUSAGE_SELF) - began
        sign_recorded(work, (DISTRIBUTION,))
    return {"revision": str(result.revision), "cpu": spent, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def delta(site: Path) -> Mapping[str, object]:
    """Make the delta of the two newest revisions again, to measure its CPU time alone; it must have the same bytes."""
    from infra.workplace import open_workplace
    from sluice.formats.ted.index import parse_index

    with open_workplace(site / BLUEPRINTS, "hq") as work:
        base, newest = work.store.revisions(DISTRIBUTION)[-2:]
        for revision in (base, newest):
            work.store.manifest(DISTRIBUTION, revision)
        made = next(ted for ted in work.store.teds(DISTRIBUTION, newest) if ted.base == base)
        os.unlink(made.path)
        began = cpu(resource.RUSAGE_SELF)
        again = work.store.ensure_ted(DISTRIBUTION, newest, base)
        spent = cpu(resource.RUSAGE_SELF) - began
        if again.index != made.index:
            raise RuntimeError("a delta made twice came out differently")
    index = parse_index(again.index)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    kinds: dict[str, int] = {}
    for frame in index.frames:
        kinds[str(frame.kind)] = kinds.get(str(frame.kind), 0) + frame.length
    return {"cpu": spent, "peak": peak, "payload": again.payload, "index": len(again.index), "plain": index.plain, "kinds": kinds}


def apply(site: Path) -> Mapping[str, object]:
    """Rebuild the new contents from the delta and the older, extracted tree, and drop them, to measure the CPU time alone."""
    from infra.workplace import open_workplace
    from sluice.delta.apply import read_delta
    from sluice.formats.ted.file import PAYLOAD_OFFSET
    from sluice.formats.ted.frame import Range
    from sluice.formats.ted.index import parse_index
    from sluice.formats.ted.recipe import read_recipe, resolved_references
    from sluice.model.manifest import EntryKind

    with open_workplace(site / BLUEPRINTS, "hq") as work:
        base, newest = work.store.revisions(DISTRIBUTION)[-2:]
        older, newer = work.store.manifest(DISTRIBUTION, base), work.store.manifest(DISTRIBUTION, newest)
        made = next(ted for ted in work.store.teds(DISTRIBUTION, newest) if ted.base == base)
    places = {entry.digest: entry.path for entry in older.destinations[0].entries if entry.kind is EntryKind.FILE}
    paths = [site / "there" / DISTRIBUTION / places[digest] for digest, _ in older.contents()]

    def reference(ranges: Sequence[Range]) -> bytes:
        parts = []
        for each in ranges:
            with open(paths[each.content], "rb", buffering=0) as file:
                file.seek(each.offset)
                parts.append(file.read(each.length))
        return parts[0] if len(parts) == 1 else b"".join(parts)

    index, plain = parse_index(made.index), 0
    with open(made.path, "rb") as file:
        file.seek(PAYLOAD_OFFSET)
        began = cpu(resource.RUSAGE_SELF)
        ranges = resolved_references(read_recipe(file.read, index), index, older, newer)
        for piece in read_delta(file.read, index.frames, ranges, reference, small=index.small):
            plain += len(piece)
        spent = cpu(resource.RUSAGE_SELF) - began
    if plain != index.plain:
        raise RuntimeError(f"{plain} bytes were rebuilt, not {index.plain} as announced")
    return {"cpu": spent, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024}


def send(site: Path) -> Mapping[str, object]:
    """Send the newest revision and have it extracted; count every byte of the conversation both ways, and measure the agent."""
    from infra.workplace import open_workplace
    from sluice.blueprint.render.recipe import recipe
    from sluice.distributor.deliver.orders import Orders
    from sluice.distributor.deliver.sender import distributor_sender
    from sluice.model.assignment import Assignment
    from sluice.sender.transfer import Transfer

    agent = PeakWatch(lambda: children(os.getpid()))
    with open_workplace(site / BLUEPRINTS, "hq") as work, agent.watching():
        revision = work.store.revisions(DISTRIBUTION)[-1]
        host = work.site.subscriber(HOST)
        assignment = Assignment(HOST, DISTRIBUTION, revision)
        sending = Transfer(replace(distributor_sender(work), timeout=TIMEOUT), host, assignment)
        try:
            sending.call()
            result = sending.transfer()
            done = Orders(work, sending.called, assignment, recipe(work.site, DISTRIBUTION, HOST)).give()
            if done.error is not None:
                raise done.error
            line = sending.called.conversation
            both = {"sent": line.sent, "received": line.received}
        finally:
            sending.close()
    parts = {"payload": result.payload, "metadata": result.metadata, "manifest": result.manifest, "send": result.sent + result.received}
    of_agent = {"agent_cpu": cpu(resource.RUSAGE_CHILDREN), "agent_peak": agent.peak}
    return {**both, **parts, **of_agent, "base": str(result.base) if result.base else None}


STEPS: Mapping[str, Callable[[Path], Mapping[str, object]]] = {"trust": trust, "build": build, "delta": delta, "apply": apply, "send": send}


def main(arguments: list[str]) -> None:
    """Run one step."""
    step, site = arguments
    print(json.dumps(STEPS[step](Path(site))))


if __name__ == "__main__":
    main(sys.argv[1:])

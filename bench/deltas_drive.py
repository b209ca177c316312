"""``python -m bench.deltas_drive STEP SITE``: run one step of a Distributor in a process of its own, so that CPU time and memory are known.

Steps: ``trust`` (keys, agent), ``build`` (scan, revision, signature), ``delta`` (the newest revision's delta again, alone), ``apply`` (its
contents rebuilt, alone), ``send`` (the newest revision to a real agent, and its extraction). Each prints its figures as a JSON line.
"""

from __future__ import annotations

import json
import os
import resource
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from bench.processes import cpu, watched_peak
from bench.site import trust_distributor
from tests.system.sshd import children

if TYPE_CHECKING:
    from infra.workplace import Workplace
    from sluice.model.manifest import Manifest
    from sluice.ports.store import TedFile

Figures = Mapping[str, object]

DISTRIBUTION = "zone"
HOST = "host"
BLUEPRINTS = "blueprints"
"""Directory of the blueprints, apart from the trees, which may contain YAML files."""
TIMEOUT = 1200.0
"""Seconds without progress: completing a large tree on a busy machine takes long."""


def trust(work: Workplace, site: Path) -> Figures:
    """Make keys of the Distributor, and an agent that trusts it."""
    work.publisher.ensure_keys(datetime.now(UTC))
    trust_distributor(work, HOST)
    return {}


def build(work: Workplace, site: Path) -> Figures:
    """Build a revision of the current source."""
    from infra.sources.files import FilesSource  # noqa: F401 - imports are no part of the CPU time
    from sluice.distributor.build.record import build_recorded, sign_recorded

    began = time.process_time()
    result = build_recorded(work, DISTRIBUTION)
    spent = time.process_time() - began
    sign_recorded(work, (DISTRIBUTION,))
    return {"revision": str(result.revision), "cpu": spent, "peak": _peak()}


def delta(work: Workplace, site: Path) -> Figures:
    """Make the delta of the two newest revisions again, to measure its CPU time alone; it must have the same bytes."""
    from sluice.formats.ted.index import parse_index

    older, newer, made = _newest_delta(work)
    os.unlink(made.path)
    began = time.process_time()
    again = work.store.ensure_ted(DISTRIBUTION, newer.revision, older.revision)
    spent = time.process_time() - began
    if again.index != made.index:
        raise RuntimeError("a delta made twice came out differently")
    index, peak = parse_index(again.index), _peak()
    kinds: Counter[str] = Counter()
    for frame in index.frames:
        kinds[str(frame.kind)] += frame.length
    return {"cpu": spent, "peak": peak, "payload": again.payload, "index": len(again.index), "plain": index.plain, "kinds": kinds}


def apply(work: Workplace, site: Path) -> Figures:
    """Rebuild the new contents from the delta and the older, extracted tree, and drop them, to measure the CPU time alone."""
    from sluice.delta.apply import read_delta
    from sluice.formats.ted.file import PAYLOAD_OFFSET
    from sluice.formats.ted.frame import Range
    from sluice.formats.ted.index import parse_index
    from sluice.formats.ted.recipe import read_recipe, resolved_references
    from sluice.model.manifest import EntryKind

    older, newer, made = _newest_delta(work)
    extracted = {entry.digest: entry.path for entry in older.destinations[0].entries if entry.kind is EntryKind.FILE}
    paths = [site / "there" / DISTRIBUTION / extracted[digest] for digest, _ in older.contents()]

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
        began = time.process_time()
        ranges = resolved_references(read_recipe(file.read, index), index, older, newer)
        for piece in read_delta(file.read, index.frames, ranges, reference, small=index.small):
            plain += len(piece)
        spent = time.process_time() - began
    if plain != index.plain:
        raise RuntimeError(f"{plain} bytes were rebuilt, not {index.plain} as announced")
    return {"cpu": spent, "peak": _peak()}


def send(work: Workplace, site: Path) -> Figures:
    """Send the newest revision and have it extracted; count every byte of the conversation both ways, and measure the agent."""
    from sluice.blueprint.render.recipe import recipe
    from sluice.distributor.deliver.orders import Orders
    from sluice.distributor.deliver.sender import distributor_sender
    from sluice.model.assignment import Assignment
    from sluice.sender.transfer import Transfer

    assignment = Assignment(HOST, DISTRIBUTION, work.store.revisions(DISTRIBUTION)[-1])
    transfer = Transfer(replace(distributor_sender(work), timeout=TIMEOUT), work.site.subscriber(HOST), assignment)
    with watched_peak(lambda: children(os.getpid())) as agent_peak:
        try:
            transfer.call()
            result = transfer.transfer()
            done = Orders(work, transfer.called, assignment, recipe(work.site, DISTRIBUTION, HOST)).give()
            if done.error is not None:
                raise done.error
            line = transfer.called.conversation
            both = {"sent": line.sent, "received": line.received}
        finally:
            transfer.close()
    parts = {"payload": result.payload, "metadata": result.metadata, "manifest": result.manifest, "send": result.sent + result.received}
    of_agent = {"agent_cpu": cpu(resource.RUSAGE_CHILDREN), "agent_peak": agent_peak()}
    return {**both, **parts, **of_agent, "base": str(result.base) if result.base else None}


def _newest_delta(work: Workplace) -> tuple[Manifest, Manifest, TedFile]:
    """Return the manifests of the two newest revisions, and the delta between them."""
    base, newest = work.store.revisions(DISTRIBUTION)[-2:]
    made = next(ted for ted in work.store.teds(DISTRIBUTION, newest) if ted.base == base)
    return work.store.manifest(DISTRIBUTION, base), work.store.manifest(DISTRIBUTION, newest), made


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


STEPS: Mapping[str, Callable[[Workplace, Path], Figures]] = {"trust": trust, "build": build, "delta": delta, "apply": apply, "send": send}


def main(arguments: list[str]) -> None:
    """Run one step."""
    from infra.workplace import open_workplace

    step, site = arguments[0], Path(arguments[1])
    with open_workplace(site / BLUEPRINTS, "hq") as work:
        print(json.dumps(STEPS[step](work, site)))


if __name__ == "__main__":
    main(sys.argv[1:])

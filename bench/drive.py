"""What a flow run does, without Prefect: one send or one build through the operations, in a process of its own.

``python -m bench.drive send SITE DISTRIBUTION [extract]`` and ``... build SITE DISTRIBUTION`` print when each step was done, as JSON of
CLOCK_MONOTONIC seconds. The steps and the parts are those of ``tasks/send_revision.py`` and ``tasks/build_revision.py``.
"""

from __future__ import annotations

import gc
import json
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

MARKS: dict[str, float] = {}
SLOT_SECONDS = 30.0


def mark(step: str) -> None:
    """Note that a step is done."""
    MARKS[step] = time.monotonic()


def send(site_directory: Path, distribution: str, subscriber: str, *, extract: bool) -> None:
    """Send the newest revision to a Subscriber, and have it extracted."""
    from infra.ledger.sql import open_ledger  # noqa: F401 - a flow run has imported what it uses
    from infra.transports.ssh import SshTransport  # noqa: F401 - the same
    from infra.workplace import open_workplace
    from sluice.blueprint.render.recipe import recipe
    from sluice.distributor.deliver.delivery import Delivery
    from sluice.distributor.deliver.sender import distributor_sender
    from sluice.distributor.send_queue.watch import QueueWatch
    from sluice.model.assignment import Assignment
    from sluice.model.ticket import Started
    from sluice.sender.transfer import Transfer

    mark("imported")
    with open_workplace(site_directory, "hq") as work:
        mark("opened")
        revision = work.store.revisions(distribution)[-1]
        host = work.site.subscriber(subscriber)
        watch = QueueWatch("hq", work.distributor.max_concurrent, ledger=work.ledger, clock=work.clock)
        watch.start()
        sender = replace(distributor_sender(work), sign=_never)
        assignment = Assignment(host.name, distribution, revision, "all", work.site.distribution(distribution).priority)
        delivery = Delivery(
            work,
            watch,
            assignment,
            lambda remedy: Transfer(sender, host, assignment, remedy=remedy),
            recipe(work.site, distribution, host.name) if extract else None,
        )
        delivery.offer()
        delivery.enter()
        if not delivery.call():
            raise RuntimeError("the host already has it: nothing would be measured")
        heard = threading.Event()
        turn = delivery.ask(heard.set)
        if not heard.wait(SLOT_SECONDS) or not isinstance(turn.decision, Started):
            raise RuntimeError(f"no slot although no other process sends: {turn.decision}")
        mark("called")
        delivery.transfer()
        mark("sent")
        if extract:
            done = delivery.extract()
            if done is None or done.error is not None:
                raise RuntimeError(f"not extracted: {done}")
            mark("extracted")
        delivery.end()
        watch.close()
    mark("closed")


def build(site_directory: Path, distribution: str) -> None:
    """Build and sign the next revision, where anything changed."""
    from infra.ledger.sql import open_ledger  # noqa: F401 - a flow run has imported what it uses
    from infra.sources.files import FilesSource  # noqa: F401 - the same
    from infra.workplace import open_workplace
    from sluice.distributor.build.record import build_recorded, sign_recorded

    mark("imported")
    with open_workplace(site_directory, "hq") as work:
        mark("opened")
        result = build_recorded(work, distribution)
        mark("built")
        if result.changed:
            sign_recorded(work, (distribution,))
    mark("closed")


def _never(distribution: str) -> None:
    raise RuntimeError(f"{distribution} isn't signed: nothing would be measured")


def main(arguments: list[str]) -> None:
    """One of the two."""
    mark("started")
    what, site, distribution, *more = arguments
    if what == "send":
        send(Path(site), distribution, "host", extract="extract" in more)
    else:
        build(Path(site), distribution)
    print(json.dumps(MARKS))
    gc.freeze()  # as the sluice command ends


if __name__ == "__main__":
    main(sys.argv[1:])

"""Write the blueprints of a site to measure, and have its agents trust its Distributor: one Distributor ``hq``, one Channel ``all``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from infra.workplace import Workplace


def write_site(
    blueprints: Path, working_directory: Path, subscribers: Sequence[Mapping[str, Any]], distributions: Iterable[Mapping[str, Any]]
) -> None:
    """Write a site to a directory; of Subscribers and Distributions only what differs from one benchmark to another is given."""
    documents = [
        {"kind": "Distributor", "name": "hq", "working_directory": str(working_directory)},
        {"kind": "Channel", "name": "all", "send": "never", "subscribers": [each["name"] for each in subscribers]},
        *({"kind": "Subscriber", **each} for each in subscribers),
        *({"kind": "Distribution", "distributor": "hq", "type": "file", "channels": ["all"], **each} for each in distributions),
    ]
    blueprints.mkdir(parents=True, exist_ok=True)
    (blueprints / "site.yaml").write_text("\n---\n".join(map(json.dumps, documents)) + "\n")


def trust_distributor(work: Workplace, subscriber: str) -> None:
    """Make the keys of a Subscriber on this machine; it trusts the Distributor, and the Distributor its receipts."""
    from agents.init import init, trust

    directory = Path(work.site.subscriber(subscriber).working_directory)
    work.publisher.keep_subscriber_key(subscriber, init(directory, subscriber))
    trust(directory, "hq", work.publisher.root())

"""A Subscriber's Distribution on a real file system, without trust and wire: revisions are received and extracted in this process."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from infra.filesystem.local import LocalFilesystem
from sluice.formats.orders import parse_receipt, receipt_bytes
from sluice.formats.zstd import compress_frame
from sluice.model.action import Action, Script, ScriptType
from sluice.model.order import Order, Receipt
from sluice.ports import Filesystem
from sluice.subscriber.extract.context import ExtractionContext
from sluice.subscriber.extract.ending import recover
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.held.directory import DistributionDirectory
from sluice.subscriber.receive.receivers import ManifestReceiver, TargetPath, TedReceiver
from sluice.trust.envelope import Envelope
from sluice.trust.targets import Target
from tests.subscriber.revisions import Made

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


def sign(receipt: Receipt) -> Envelope:
    """Not a signature: trust has tests of its own."""
    return {"payload": receipt_bytes(receipt).decode(), "signature": base64.b64encode(bytes(64)).decode(), "key": "receipt"}


def shell(run: str, undo: str = "none") -> Script:
    return Script(ScriptType.SHELL, undo, run=run)


class Host:
    """A Distribution of ``hq`` on ``oslo``."""

    def __init__(self, directory: Path, filesystem: Filesystem | None = None, *, distribution: str = "zone") -> None:
        self.work = directory / "work"
        self.distribution = distribution
        self.held = DistributionDirectory(self.work / "distributors/hq/distributions" / distribution)
        self.context = ExtractionContext(
            filesystem=filesystem or LocalFilesystem(),
            held=self.held,
            subscriber="oslo",
            working_directory=str(self.work),
            sign=sign,
            now=lambda: NOW,
            action_limit=20.0,
        )
        self.sequence = 0

    def using(self, filesystem: Filesystem) -> Host:
        """The same host through another adapter."""
        self.context = replace(self.context, filesystem=filesystem)
        return self

    def receive(self, made: Made) -> None:
        named = TargetPath(self.distribution, made.manifest.revision, "manifest")
        with self.held.lock():
            data = compress_frame(made.manifest_bytes)
            manifest = ManifestReceiver(self.held, named, Target.of(made.manifest_bytes), length=len(data))
            if not manifest.is_held():
                assert manifest.feed(data)
            ted = TedReceiver(self.held, replace(named, file=made.file))
            if not ted.is_held():
                offset = ted.begin(made.index_bytes, made.index.payload, Target.of(made.index_bytes))
                assert ted.feed(made.payload[offset:])
                ted.finish(NOW)
            ted.close()

    def order(self, made: Made, destinations: Iterable[Path], pre: Iterable[Action] = (), post: Iterable[Action] = ()) -> Order:
        self.sequence += 1
        until = NOW + timedelta(hours=1)
        texts = tuple(map(str, destinations))
        named, revision = self.distribution, made.manifest.revision
        return Order("hq", "oslo", self.sequence, NOW, until, named, revision, texts, tuple(pre), tuple(post))

    def extract(self, made: Made, *destinations: Path, pre: Iterable[Action] = (), post: Iterable[Action] = ()) -> Receipt:
        envelope = extract(self.context, self.order(made, destinations, pre, post))
        return parse_receipt(envelope["payload"].encode())

    def install(self, made: Made, *destinations: Path, pre: Iterable[Action] = (), post: Iterable[Action] = ()) -> Receipt:
        """Receive and extract."""
        self.receive(made)
        return self.extract(made, *destinations, pre=pre, post=post)

    def recover(self) -> None:
        with self.held.lock():
            recover(self.context)

    def receipts(self) -> list[Receipt]:
        """Those stored, by sequence."""
        import json

        paths = sorted(self.held.receipts.glob("*.json"), key=lambda path: int(path.stem))
        return [parse_receipt(json.loads(path.read_bytes())["payload"].encode()) for path in paths]

    def leftovers(self, *tops: Path) -> list[Path]:
        """What an extraction may not leave: journals, staging, temporary files."""
        places = [self.work, *tops]
        found = [path for top in places for path in top.rglob("*") if path.name.startswith((".tmp-", ".sluice-"))]
        return found + ([self.held.journal] if self.held.journal.exists() else [])

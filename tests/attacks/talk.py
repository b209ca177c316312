"""One conversation with a forked agent, in the steps that attackers take."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sluice.formats.zstd import compress_frame
from sluice.trust.roles import manifest_target, ted_target
from tests.agents.workbench import Frames
from tests.attacks.case import said
from tests.attacks.forked import Born
from tests.subscriber.revisions import Made

Files = Mapping[str, bytes]
"""Metadata by name, as in a Distributor's repository."""


class Talk(Frames):
    """One conversation with a forked agent. What is sent is remembered as a digest; a line that the agent closed takes no more."""

    def __init__(self, born: Born, sent: Any) -> None:
        self.born, self._sent = born, sent
        self.stdin, self.stdout = born.stdin, born.stdout

    def raw(self, data: bytes) -> None:
        self._sent.update(data)
        try:
            super().raw(data)
        except BrokenPipeError:
            return  # it has said why

    def push(self, files: Files, *, distribution: str = "zone", plain: bytes | None = None, **changed: Any) -> str:
        """Metadata, as a relay would hand it over."""
        data = b"".join(files.values()) if plain is None else plain
        listed = [[name, len(each)] for name, each in files.items()]
        self.say(**{"type": "metadata", "distribution": distribution, "files": listed, "plain": len(data), **changed})
        self.data(compress_frame(data, level=9))
        return said(self.reply())

    def put(self, target: str, encoded: bytes, **changed: Any) -> str:
        """A manifest, as encoded."""
        reply = self.ask(**{"type": "put", "target": target, "length": len(encoded), "codec": "zstd", **changed})
        if reply["type"] != "ready":
            return said(reply)
        self.data(encoded)
        return said(self.reply())

    def put_ted(self, target: str, index: bytes, body: bytes, **changed: Any) -> str:
        """A ``.ted``; where a block is asked for again, once more the same."""
        self.say(**{"type": "put", "target": target, "index": len(index), "payload": len(body), **changed})
        self.data(index)
        reply = self.reply()
        while reply["type"] in ("ready", "again"):
            if reply["type"] == "again":
                self.say(type="from", offset=reply["offset"])
            self.data(body[reply["offset"] :])
            reply = self.reply()
        return said(reply)

    def send(self, made: Made) -> str:
        """Manifest and ``.ted``; what was said last."""
        first = self.put(manifest_target("zone", made.manifest.revision), compress_frame(made.manifest_bytes))
        if first not in ("stored", "held"):
            return first
        return self.put_ted(ted_target("zone", made.manifest.revision, made.file), made.index_bytes, made.payload)

    def complete(self, target: object) -> str:
        """Have a revision completed; ``lacks`` where something is to be lent first."""
        reply = self.ask(type="complete", target=target)
        return "lacks" if reply.get("lacks") else said(reply)

    def order(self, envelope: object) -> str:
        """Hand over an order."""
        return said(self.ask(type="order", envelope=envelope))

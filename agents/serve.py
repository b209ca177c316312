"""``sluice-agent serve``: one conversation over stdin and stdout (docs/formats.md section 7).

A request that fails is answered by ``error`` and the next one is taken; bytes that are no frame, or a frame out of turn, end the
conversation. ``hello`` is answered before anything heavy is imported, unless an extraction was killed and must be ended first.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from agents.features import features
from agents.frame_channel import FrameChannel
from agents.identity import identity
from agents.memory import memory
from agents.run import recover_all
from agents.working_directory import WorkingDirectory
from sluice.durable import no_space
from sluice.errors import AgentVersionError, ProtocolError, SluiceError, StoreError, TamperedError, TrustError
from sluice.formats.canonical import Fields
from sluice.formats.protocol import PROTOCOL_VERSION, Message, error_message
from sluice.model.feature import counted
from sluice.model.names import name_is_valid
from sluice.model.version import VERSION
from sluice.trust.held import held_versions
from sluice.trust.high_water import read_high_water

CODEC = "zstd"
"""Every agent can read it."""
MORE_CODECS = {"hdiff": "hdiffpatch", "lzma": "_lzma"}
"""Codecs that some agents can read as well, by the module that each needs: a bundle or a Python may come without it."""
ABOUT_MAX = 10_000
"""Most Distributions that a sender may ask about."""
_PLATFORM_IDS = {"almalinux": "alma", "ol": "oracle", "amzn": "amazon", "opensuse-leap": "opensuse", "opensuse-tumbleweed": "opensuse"}
"""Products that have another name in /etc/os-release than in sluice/model/platforms.py."""


def serve(directory: WorkingDirectory) -> int:
    """Hold one conversation. Returns the exit code: 0 if it ended in order."""
    signal.signal(signal.SIGHUP, _ignore)
    channel = FrameChannel.over_stdio()
    for error in recover_all(directory):
        sys.stderr.write(f"sluice-agent: {error}\n")
    return _Conversation(directory, channel).run()


def _ignore(_number: int, _frame: object) -> None:
    """Ignore a lost login: it doesn't end an extraction. A handler and not SIG_IGN, which programs that actions start would inherit."""


class _Conversation:
    def __init__(self, directory: WorkingDirectory, channel: FrameChannel) -> None:
        self._directory = directory
        self._channel = channel
        self._distributor: str | None = None
        self._requests: dict[str, Callable[[Fields], Message]] = {}
        self._completions = Counter[tuple[str, str]]()
        self._discarding = False
        """After an error within a put, data frames still arrive that nobody wants."""

    def run(self) -> int:
        while True:
            try:
                frame = self._channel.read()
                if frame is None:
                    return 0
                if isinstance(frame, bytes) or (self._discarding and frame["type"] == "from"):
                    if not self._discarding:
                        raise ProtocolError("data came outside of a put")
                    continue
                self._discarding = False
                if frame["type"] == "bye":
                    return 0
                self._channel.send(self._answer(frame))
            except EOFError:
                return 0
            except ProtocolError as error:
                self._channel.send(error_message(error))
                return error.exit_code

    def _answer(self, message: Message) -> Message:
        kind = message.pop("type")
        try:
            if kind == "hello":
                return self._hello(Fields(message, what="hello"))
            if self._distributor is None:
                raise ProtocolError("the first message isn't hello")
            if kind not in self._handlers():
                raise ProtocolError(f"no request is named {kind[:32]!r}")
            return self._handlers()[kind](Fields(message, what=kind))
        except (ProtocolError, EOFError):
            raise
        except SluiceError as error:
            failed = error
        except OSError as error:
            failed = _disk_error(error, self._directory.path)
        except Exception as error:  # noqa: BLE001 - whatever happens to one request, the next one is taken
            traceback.print_exc(file=sys.stderr)
            failed = SluiceError(f"the agent failed: {type(error).__name__}: {error}", remedy="look at the agent's stderr, then repeat")
        self._discarding = kind == "put"
        return _in_unicode(error_message(failed))

    def _handlers(self) -> dict[str, Callable[[Fields], Message]]:
        if not self._requests:
            from agents.requests import Requests  # after hello: it imports what verifies and decompresses

            self._requests = Requests(self._directory, str(self._distributor), self._channel, self._completions).handlers()
        return self._requests

    def _hello(self, fields: Fields) -> Message:
        versions = fields.items("protocol", limit=100)
        if PROTOCOL_VERSION not in versions:
            raise AgentVersionError(
                f"this agent speaks protocol {PROTOCOL_VERSION}, the sender {versions!r:.100}", remedy="update the older one"
            )
        name = fields.text("distributor")
        about = self._about(fields)
        asks_identity, asks_counted = (bool(fields.optional(key) and fields.flag(key)) for key in ("identity", "counted"))
        directory = self._directory.distributor(name)
        status = os.statvfs(self._directory.path)
        self._distributor, self._requests = name, {}
        sequences = self._sequences(name)
        return {
            "type": "hello",
            "protocol": PROTOCOL_VERSION,
            "agent": VERSION,
            "subscriber": self._directory.subscriber(),
            "platform": _platform(),
            "python": ".".join(map(str, sys.version_info[:3])),
            "codecs": [CODEC, *(codec for codec, module in MORE_CODECS.items() if find_spec(module))],
            "memory": memory(),
            "free": status.f_bavail * status.f_frsize,
            **_features(asks_counted),
            "trust": held_versions(directory, about) or None,
            "distributions": self._held(name, about, sequences),
            **({} if about is None else {"sequence": max(sequences.values(), default=0)}),
            **({"identity": identity(self._directory)} if asks_identity else {}),
        }

    @staticmethod
    def _about(fields: Fields) -> frozenset[str] | None:
        """Return the Distributions that the answer is confined to; None: all of them."""
        if not fields.optional("about"):
            return None
        names = fields.items("about", limit=ABOUT_MAX)
        if not all(isinstance(name, str) and name_is_valid(name) for name in names):
            raise TamperedError("hello: about is no list of Distributions")
        return frozenset(names)

    def _sequences(self, distributor: str) -> Mapping[str, int]:
        try:
            return read_high_water(self._directory.distributor(distributor) / "high-water.json").sequences
        except TrustError:  # damaged: the next order says so
            return {}

    def _held(self, distributor: str, about: frozenset[str] | None, sequences: Mapping[str, int]) -> dict[str, Any]:
        found = {}
        for held in self._directory.distributions(distributor):
            if about is not None and held.name not in about:
                continue
            with suppress(SluiceError):  # a damaged status file holds nothing
                status = held.status()
                newest, extracted = held.newest_held(status), status.extracted
                found[held.name] = {
                    "held": newest and str(newest),
                    "extracted": extracted and extracted.revision,
                    "sequence": sequences.get(held.name, 0),
                }
        return found


def _features(is_counted: bool) -> Message:
    if not is_counted:
        return {"features": features()}
    first, lacking = counted(features())
    return {"first": first, **({"lacking": lacking} if lacking else {})}


def _disk_error(error: OSError, directory: Path) -> SluiceError:
    """Return the error for a call that the system refused: the host's trouble, no fault of the agent's."""
    path = os.fsdecode(error.filename) if isinstance(error.filename, (str, bytes)) else str(directory)
    remedy = "look at that disk and the rights of the agent's account, then repeat"
    if error.errno == errno.EPERM:
        remedy = f"take the attribute away that forbids it (lsattr -d {directory} and what is below it shows which), then repeat"
    return no_space(error, path) or StoreError(f"{path}: {error.strerror or error}", remedy=remedy)


def _in_unicode(message: Message) -> Message:
    """Replace characters that are no UTF-8: foreign files may have any name."""
    return {key: value.encode(errors="replace").decode() if isinstance(value, str) else value for key, value in message.items()}


def _platform() -> str:
    """Return ``debian-12`` or the like, from /etc/os-release."""
    values = {}
    with suppress(OSError), open("/etc/os-release", encoding="utf-8", errors="replace") as file:
        for line in file:
            key, _, value = line.strip().partition("=")
            values[key] = value.strip("\"'")
    product = _PLATFORM_IDS.get(values.get("ID", ""), values.get("ID", "linux"))
    version = values.get("VERSION_ID", "")
    return f"{product}-{version}" if version else product

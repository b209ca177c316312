"""A Distributor and an agent as a child process, with nothing else between them: what a sender does, step by step."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import traceback
import warnings
from collections.abc import Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath
from typing import IO, Any, cast

import agents.extraction
import agents.requests
import agents.serve  # noqa: F401 - these three are imported late by an agent; forks of this process have them already
from agents.init import init, trust
from agents.main import main
from infra.transports.local import LocalStream, LocalTransport
from sluice.formats.protocol import DATA_MAX, data_header, message_frame, read_frame
from sluice.formats.zstd import compress_frame
from sluice.model.action import Action
from sluice.model.agent_event import AgentEvent
from sluice.model.locked import FAILS_AT_ONCE, Locked
from sluice.model.order import Order, Receipt
from sluice.model.site import Address, Subscriber
from sluice.sender.conversation import Conversation
from sluice.trust.envelope import Envelope
from sluice.trust.publish import Publisher
from sluice.trust.roles import manifest_target, ted_target
from sluice.trust.targets import Target
from tests.subscriber.revisions import Made

PROJECT = Path(__file__).parents[2]


def serving(directory: Path | PurePosixPath) -> subprocess.Popen[bytes]:
    """``sluice-agent serve`` as a child process, forked from this one: most of an agent's time would go into its imports."""

    def become() -> None:
        code = 1
        try:
            signal.signal(signal.SIGPIPE, signal.SIG_IGN)  # as Python starts, and as Popen undoes
            os.closerange(3, 4096)
            sys.stdin, sys.stdout, sys.stderr = (os.fdopen(number, mode, encoding="utf-8") for number, mode in enumerate("rww"))
            code = main(["serve", "--directory", str(directory)])
        except BaseException:  # noqa: BLE001 - the child must end here whatever happens
            traceback.print_exc()
        finally:
            with suppress(OSError, ValueError):
                sys.stderr.flush()
            os._exit(code)

    pipe = subprocess.PIPE
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # 3.12 warns where other threads live; the child uses nothing of theirs
        return subprocess.Popen(
            ["sluice-agent"], stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, cwd="/", start_new_session=True, preexec_fn=become
        )


class ForkedAgents(LocalTransport):
    """The Transport port to such agents."""

    def connect(self, subscriber: Subscriber, *, timeout: float) -> LocalStream:
        """See the port."""
        return LocalStream(serving(subscriber.working_directory), self.login(subscriber, timeout=timeout))


class Workbench:
    """Distributor ``hq`` and Subscriber ``oslo``, trusted and bootstrapped."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.work = directory / "subscriber"
        self.work.mkdir(mode=0o700)
        self.publisher = Publisher(directory / "hq", distributor="hq")
        self.publisher.ensure_keys(datetime.now(UTC))
        self.publisher.keep_subscriber_key("oslo", init(self.work, "oslo"))
        trust(self.work, "hq", self.publisher.root())
        launcher = self.work / "agent" / "sluice-agent"
        launcher.parent.mkdir()
        call = f'{sys.executable} -W error -c "import sys; from agents.main import main; sys.exit(main())"'
        launcher.write_text(f'#!/bin/sh\nPYTHONPATH={PROJECT} exec {call} "$@"\n')
        launcher.chmod(0o700)
        self.launcher = launcher
        self.sequence = 0

    @property
    def held(self) -> Path:
        return self.work / "distributors" / "hq" / "distributions" / "zone"

    def connect(self) -> Conversation:
        address = Address("local", path=str(self.work))
        subscriber = Subscriber("oslo", address, PurePosixPath(self.work))
        conversation = Conversation(ForkedAgents().connect(subscriber, timeout=120), who="oslo")
        conversation.hello("hq")
        return conversation

    def publish(self, *made: Made) -> None:
        """Sign these revisions as all that can be sent."""
        listing = {}
        for each in made:
            name, revision = each.manifest.distribution, each.manifest.revision
            listing[manifest_target(name, revision)] = Target.of(each.manifest_bytes)
            listing[ted_target(name, revision, each.file)] = Target.of(each.index_bytes)
        self.publisher.publish(lambda: {"zone": listing}, now=datetime.now(UTC), longest_interval=timedelta(days=1))

    def push_metadata(self, conversation: Conversation) -> None:
        conversation.push_metadata("zone", self.publisher.files_for("zone", {}))

    def send(self, conversation: Conversation, made: Made) -> None:
        """Publish and send one revision."""
        self.publish(made)
        self.push_metadata(conversation)
        conversation.put_manifest(manifest_target("zone", made.manifest.revision), made.manifest_bytes)
        conversation.put_ted(ted_target("zone", made.manifest.revision, made.file), made.ted_file(self.directory))

    def order(
        self,
        made: Made,
        *destinations: Path,
        pre: tuple[Action, ...] = (),
        post: tuple[Action, ...] = (),
        locked: Locked = FAILS_AT_ONCE,
    ) -> Envelope:
        self.sequence += 1
        now = datetime.now(UTC)
        revision = made.manifest.revision
        texts = tuple(map(str, destinations))
        return self.publisher.sign_order(
            Order("hq", "oslo", self.sequence, now, now + timedelta(hours=1), "zone", revision, texts, pre, post, locked)
        )

    def extract(self, conversation: Conversation, envelope: Envelope, events: list[AgentEvent] | None = None) -> Receipt:
        found = conversation.order(envelope, None if events is None else events.append)
        return self.publisher.open_receipt(found, subscriber="oslo")


class Frames:
    """One conversation, frame by frame, so that it can go wrong; over two pipes to an agent."""

    stdin: IO[bytes]
    stdout: IO[bytes]

    def say(self, **message: Any) -> None:
        self.raw(message_frame(message))

    def data(self, data: bytes) -> None:
        for at in range(0, len(data), DATA_MAX):
            piece = data[at : at + DATA_MAX]
            self.raw(data_header(len(piece)) + piece)

    def raw(self, data: bytes) -> None:
        self.stdin.write(data)
        self.stdin.flush()

    def reply(self) -> dict[str, Any]:
        """The next message that is no sign of life."""
        while True:
            frame = read_frame(self.stdout.read)
            assert isinstance(frame, dict), frame
            if frame["type"] not in ("event", "progress"):
                return frame

    def ask(self, **message: Any) -> dict[str, Any]:
        self.say(**message)
        return self.reply()

    def hello(self, distributor: str = "hq") -> dict[str, Any]:
        return self.ask(type="hello", protocol=[1], distributor=distributor, sender="0")

    def metadata(self, bench: Workbench, files: dict[str, bytes] | None = None) -> dict[str, Any]:
        files = bench.publisher.files_for("zone", {}) if files is None else files
        plain = b"".join(files.values())
        self.say(type="metadata", distribution="zone", files=[[name, len(data)] for name, data in files.items()], plain=len(plain))
        self.data(compress_frame(plain))
        return self.reply()

    def put_manifest(self, made: Made) -> dict[str, Any]:
        data = compress_frame(made.manifest_bytes)
        reply = self.ask(type="put", target=manifest_target("zone", made.manifest.revision), length=len(data), codec="zstd")
        if reply["type"] != "ready":
            return reply
        self.data(data)
        return self.reply()

    def begin_ted(self, made: Made) -> dict[str, Any]:
        target = ted_target("zone", made.manifest.revision, made.file)
        self.say(type="put", target=target, index=len(made.index_bytes), payload=made.index.payload)
        self.data(made.index_bytes)
        return self.reply()


class Raw(Frames):
    """Frames to an agent that is a child process."""

    def __init__(self, bench: Workbench, *, python: Sequence[str] = ()) -> None:
        """``python``: options of a Python of its own."""
        if python:
            call = "import sys; sys.argv[0] = 'sluice-agent'; from agents.main import main; sys.exit(main())"
            command = [sys.executable, *python, "-c", call, "serve", "--directory", str(bench.work)]
            environment, pipe = {**os.environ, "PYTHONPATH": str(PROJECT)}, subprocess.PIPE
            self.process = subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, bufsize=0, env=environment, cwd="/")
        else:
            self.process = serving(bench.work)
        self.stdin = cast("IO[bytes]", self.process.stdin)
        self.stdout = cast("IO[bytes]", self.process.stdout)

    def __enter__(self) -> Raw:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        with suppress(BrokenPipeError):
            self.stdin.close()
        self.stdout.close()
        cast("IO[bytes]", self.process.stderr).close()

    def end(self) -> tuple[int, bytes]:
        """Close stdin; exit code and stderr."""
        _, said = self.process.communicate(timeout=120)
        return self.process.returncode, said

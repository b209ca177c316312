"""The agent's code on this machine's disk, as root or, in a child process, as another account."""

from __future__ import annotations

import _strptime  # noqa: F401 - which a child process may not be allowed to read any more
import os
import pickle
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from infra.filesystem.local import LocalFilesystem
from sluice.errors import DestinationError
from sluice.formats.manifest.document import parse_manifest
from sluice.formats.orders import parse_receipt
from sluice.formats.rehearsals import Question, changes_from_json, changes_to_json, extraction_request
from sluice.model.action import Action
from sluice.model.change import ChangeKind
from sluice.model.manifest import Manifest
from sluice.model.order import Receipt
from sluice.ports import ResolvedPath
from sluice.rules.wording import printable
from sluice.subscriber.extract.extraction import extract
from sluice.subscriber.extract.rehearse import rehearse_extraction
from tests.subscriber.host import Host, shell
from tests.subscriber.revisions import Made

_T = TypeVar("_T")


@dataclass(frozen=True)
class Foretold:
    """The answer to a dry run."""

    problem: str = ""
    """Why a run would stop; empty: it wouldn't."""
    kinds: Mapping[str, frozenset[ChangeKind]] = field(default_factory=dict)
    """Kinds of change of each path that it names, as it is shown."""

    def of(self, *kinds: ChangeKind) -> frozenset[str]:
        """The paths that are named with one of these kinds."""
        return frozenset(path for path, named in self.kinds.items() if not named.isdisjoint(kinds))


def shown(path: str) -> str:
    """A path as an agent tells it."""
    return printable(path.encode(errors="replace").decode())


class FencedFilesystem(LocalFilesystem):
    """The local one for destinations below one directory: a placed link may lead to the rest of this machine."""

    def __init__(self, fence: Path) -> None:
        super().__init__()
        self._fence = fence

    def locate(self, path: str, *, is_directory: bool) -> ResolvedPath:
        found = super().locate(path, is_directory=is_directory)
        if not Path(found.path).is_relative_to(self._fence):
            raise DestinationError(f"{path} leads to {found.path}, which isn't on this host")
        return found


class Subscriber:
    """One Distribution on ``oslo``, whose disk is ``directory/host``."""

    def __init__(self, directory: Path, name: str, user: int) -> None:
        self._user = user
        self._host = Host(directory, FencedFilesystem(directory / "host"), distribution=name)

    @property
    def revision(self) -> str:
        """The extracted one; empty: none."""
        extracted = self._host.held.status().extracted
        return extracted.revision if extracted else ""

    def foretell(self, manifest: Manifest, destinations: tuple[str, ...]) -> Foretold:
        """Rehearse, with everything that crosses the wire in the form that does."""

        def rehearse() -> Foretold:
            request, data = extraction_request(Question(manifest, destinations))
            asked = Question(parse_manifest(data), tuple(request["destinations"]))
            found = changes_from_json(changes_to_json(rehearse_extraction(self._host.context, asked)))
            kinds: dict[str, frozenset[ChangeKind]] = {}
            for each in found.paths:
                kinds[each.path] = kinds.get(each.path, frozenset()) | {each.kind}
            assert sum(found.counts.values()) == len(found.paths), "a case has more changes than an agent names"
            return Foretold("; ".join(each.message for each in found.stops), kinds)

        return self._as_user(rehearse)

    def receive(self, made: Made) -> None:
        """Keep a revision."""
        self._as_user(lambda: self._host.receive(made))

    def extract(self, made: Made, destinations: tuple[str, ...], *, fails: bool = False) -> Receipt:
        """Carry out an order; a post action may fail."""
        post: tuple[Action, ...] = (shell("exit 7"),) if fails else ()
        order = replace(self._host.order(made, (), post=post), destinations=destinations)  # a Path would lose a slash at the end

        def carry_out() -> Receipt:
            return parse_receipt(extract(self._host.context, order)["payload"].encode())

        return self._as_user(carry_out)

    def _as_user(self, work: Callable[[], _T]) -> _T:
        if self._user == os.geteuid():
            return work()
        read, write = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                os.setgroups([])
                os.setgid(self._user)
                os.setuid(self._user)
                with open(write, "wb") as file:
                    pickle.dump(work(), file)
                os._exit(0)
            except BaseException as error:  # noqa: BLE001 - the child must end here whatever happens
                sys.excepthook(type(error), error, error.__traceback__)
                sys.stderr.flush()
            finally:
                os._exit(1)
        os.close(write)
        with open(read, "rb") as file:
            data = file.read()
        _, status = os.waitpid(pid, 0)
        if status:
            raise AssertionError(f"the agent ended with {status}: see above")
        found: _T = pickle.loads(data)
        return found

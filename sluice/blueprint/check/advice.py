"""Give advice on a site without errors: settings that work as written and are likely mistakes (B2, C7, F4, F5, F9). It never fails a site.

Given for a schedule: it has had its last start. Nothing is built, sent or extracted by it any more.

Given for a Distribution:

- an owner is set, and a Subscriber is reached by an account that isn't root: its agent cannot set owners, and receives nothing.
- ``platforms`` is met by no Subscriber that its Channels join: nothing is ever sent.
- mail goes out for every revision, since ``when_left`` reaches down to the first.
- a destination has a variable as other tools write them, such as ``${NAME}``: it is taken as it stands,
  as a template in an extended attribute is.
- an exclude looks like the syntax of another tool (``foreign_excludes.py``).

Given for the site: a file or a directory isn't read although it looks as if it were to be.

Given for actions:

- a program is started, and nothing before it stops it: it fails if the program runs. Not given if the start is waited for, since such
  a program ends by itself; and ``kill: true`` is never suggested: only the author knows whether a program asks its user before it ends.
- a program is stopped and not waited for, and the next step relies on its end: files are placed, or it is started again.
- a program is stopped, rollback is on, and no ``undo:`` starts it again.
- a program is stopped that the agent itself may run under: such a program is never stopped, and the order fails.
- a shell script names a shell that isn't the one that runs it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from sluice.blueprint.check.foreign_excludes import foreign_syntax
from sluice.blueprint.check.reach import joined_subscribers, reached_subscribers
from sluice.blueprint.read.files import is_blueprint, walk_site
from sluice.blueprint.schema.actions import PHASES
from sluice.model.action import Action, Script, ScriptType, StartProcess, StopProcess
from sluice.model.schedule import Schedule
from sluice.model.site import Distribution, Origin, Site, Subscriber
from sluice.rules.due import last_start
from sluice.rules.interpreters import interpreter

_RUNS_UNDER = ("sshd", "sluice-agent")
"""Programs that an agent runs under: the SSH server, and the agent itself."""
_NAMED_MAX = 3
"""Subscribers that advice names before it counts."""
_NEARLY = re.compile(r"\.ya?ml|\.y[am]+l?$", re.IGNORECASE)
"""In names of backups, unfinished downloads and the like."""
_FOREIGN_VARIABLE = re.compile(r"\$([A-Za-z_]\w*)|\$\{([\w.]+)\}|%(\w+)%|(?<!\{)\{(\w+)\}(?!\})")
_POSIX = ("", "sh", "dash", "ash")


@dataclass(frozen=True, slots=True)
class Advice:
    """One piece of advice, with the position it is about; ``line`` is 0 and ``path`` empty if that is a whole file or directory."""

    file: str
    line: int
    path: str
    message: str
    remedy: str

    def __str__(self) -> str:
        place = f"{self.file}:{self.line}: advice: {self.path}" if self.line else f"{self.file}: advice"
        return f"{place}: {self.message}: {self.remedy}"


def advice(site: Site, at: datetime) -> list[Advice]:
    """List all advice on a site, by file and line.

    Args:
        at: The reference time; aware.
    """
    found = [each for distribution in site.distributions.values() for each in _of_distribution(site, distribution)]
    return _in_order([*found, *_unread(Path(site.directory)), *ended_schedules(site, at)])


def ended_schedules(site: Site, at: datetime) -> list[Advice]:
    """List the advice on schedules that have had their last start before a time; one of Defaults is named once."""
    scheduled: list[tuple[Mapping[str, Origin], str, Schedule]] = []
    scheduled += [(each.origins, "refresh", each.refresh) for each in site.distributors.values()]
    scheduled += [(each.origins, "build", each.build) for each in site.distributions.values() if each.active]
    scheduled += [(each.origins, "send", each.send) for each in site.channels.values() if each.active]
    scheduled += [(each.origins, "extract", each.extract) for each in site.subscribers.values() if each.active]
    found = []
    for origins, path, schedule in scheduled:
        if (last := last_start(schedule, at)) is not None:
            message = f"has had no start since {last.astimezone(UTC):%Y-%m-%d %H:%M} UTC, and has none ahead"
            found.append(_advice(origins, path, message, "write a later time, or never"))
    return _in_order(found)


def _in_order(found: Iterable[Advice]) -> list[Advice]:
    return sorted(set(found), key=lambda each: (each.file, each.line, each.path, each.message))


def _unread(directory: Path) -> Iterator[Advice]:
    for root, directories, names in walk_site(directory):
        for name in names:
            if _NEARLY.search(name) and not is_blueprint(name) and not name.startswith("."):
                remedy = "end its name in .yaml, or move it out of the site"
                yield Advice(os.path.join(root, name), 0, "", "is not read: its name ends in neither .yaml nor .yml", remedy)
        for name in directories:
            if os.path.islink(os.path.join(root, name)):
                remedy = "put a directory in its place, or move it to files/"
                yield Advice(os.path.join(root, name), 0, "", "is not read: it is a link to a directory", remedy)


def _of_distribution(site: Site, distribution: Distribution) -> Iterator[Advice]:
    notify, limit = distribution.notify, distribution.max_revisions
    if notify is not None and limit is not None and notify.when_left >= limit - 1:
        remedy = f"write when_left: {limit - 2} or less" if limit > 1 else "write a larger max_revisions, or leave notify: out"
        yield _advice(distribution.origins, "notify", "sends mail for every revision", remedy)
    if distribution.platforms and not reached_subscribers(site, distribution) and (joined := joined_subscribers(site, distribution)):
        first = ", ".join(f"{s.name} ({s.platform or 'no platform'})" for s in joined[:_NAMED_MAX])
        more = f" and {len(joined) - _NAMED_MAX} more" if len(joined) > _NAMED_MAX else ""
        what = f"no Subscriber of its Channels is {' or '.join(distribution.platforms)}, so nothing is ever sent to {first}{more}"
        remedy = "write platform: in their documents, or other platforms:, or leave it blank"
        yield _advice(distribution.origins, "platforms", what, remedy)
    owned = [index for index, entry in enumerate(distribution.files) if entry.owner]
    if owned and (unable := _without_root(site, distribution)):
        more = f" and {len(unable) - 1} more" if len(unable) > 1 else ""
        what = f"{unable[0].name}{more}, reached as {unable[0].address.user}, cannot set owners, so nothing is sent there"
        yield _advice(
            distribution.origins,
            f"files[{owned[0]}].owner",
            what,
            "write ssh: {become: sudo} in its document, or root in its address, or leave owner: out",
        )
    for index, entry in enumerate(distribution.files):
        if (variable := _FOREIGN_VARIABLE.search(entry.destination)) is not None:
            what, name = f"{variable[0]} is taken as it stands", next(filter(None, variable.groups())).rpartition(".")[2]
            yield _advice(distribution.origins, f"files[{index}].destination", what, f"write {{{{ {name} }}}} if a variable is meant")
        for name, text in entry.xattrs.items() if not isinstance(entry.xattrs, str) else ():
            if "{{" in text:
                what, remedy = f"{text} is taken as it stands: a revision is the same for all Subscribers", "write the text itself"
                yield _advice(distribution.origins, f"files[{index}].xattrs.{name}", what, remedy)
        for number, what, remedy in foreign_syntax(entry.exclude, str(entry.source)):
            yield _advice(distribution.origins, f"files[{index}].exclude[{number}]", what, remedy)
    earlier: list[Action] = []
    for key, actions in zip(PHASES, (distribution.pre_actions, distribution.post_actions), strict=True):
        for index, action in enumerate(actions):
            for path, message, remedy in _of_action(distribution, key, index, actions, earlier):
                yield _advice(distribution.origins, path, message, remedy)
            earlier.append(action)


def _of_action(
    distribution: Distribution, key: str, index: int, actions: Sequence[Action], earlier: Sequence[Action]
) -> Iterator[tuple[str, str, str]]:
    match actions[index]:
        case StartProcess(wait=False) as start:
            name = _name(start)
            if "{{" not in name and not any(isinstance(each, StopProcess) and each.name == name for each in earlier):
                remedy = f"put stop_process: {{name: {name}, wait: true}} before it, unless it asks its user before it ends"
                yield f"{key}[{index}].start_process", "fails if it is already running", remedy
        case StopProcess() as stop:
            path = f"{key}[{index}].stop_process"
            if stop.name in _RUNS_UNDER:
                yield path, "fails if the agent runs under it: such a program is never stopped", "stop the service with a script"
            if distribution.rollback and f"{path}.undo" not in distribution.origins:
                yield path, "stays stopped after a rollback", "add undo: with a script that starts it again, or undo: none"
            again = any(isinstance(each, StartProcess) and _name(each) == stop.name for each in actions[index + 1 :])
            if not stop.wait and not stop.kill and (key == "pre_actions" or again):
                then = "when it is started again" if again else "when files are replaced"
                yield path, f"may still run {then}", "add wait: true"
        case Script(type=ScriptType.SHELL) as script if (named := interpreter(script.run)) not in _POSIX:
            yield (
                f"{key}[{index}].script.run",
                f"its first line names {named}, but /bin/sh runs it",
                "use only what /bin/sh understands, or run it with start_process",
            )


def _without_root(site: Site, distribution: Distribution) -> list[Subscriber]:
    """List Subscribers that are reached as another account than root, and without sudo, in name order; that of a local one isn't known."""
    return [s for s in reached_subscribers(site, distribution) if s.address.user not in ("", "root") and not s.ssh.become]


def _name(start: StartProcess) -> str:
    return start.path.rpartition("/")[2]


def _advice(origins: Mapping[str, Origin], path: str, message: str, remedy: str) -> Advice:
    file, _, line = origins.get(path, Origin(":0")).source.removeprefix("defaults ").rpartition(":")
    return Advice(file, int(line), path, message, remedy)

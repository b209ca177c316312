"""Check the templates of a Distribution: allowed, defined, and rendered for every Subscriber that they reach."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import methodcaller
from pathlib import PurePosixPath

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.check.reach import Variables, reached_subscribers
from sluice.blueprint.convert.converter import Converter
from sluice.blueprint.read.document import PathKey
from sluice.blueprint.render.evaluate import RENDER_WORK, TooMuchWorkError, Work
from sluice.blueprint.render.recipe import DESTINATION_MAX, rendered_destination
from sluice.blueprint.render.template import check, is_defined, names_alone, render, undefined_variables, variables_of
from sluice.blueprint.schema.actions import PHASES, problem_with
from sluice.blueprint.schema.actions import templates as action_templates
from sluice.blueprint.schema.bounds import may_excuse
from sluice.blueprint.schema.suggest import or_nearest
from sluice.blueprint.schema.values import TEXT_MAX
from sluice.model.recipe import ACTIONS_BYTES, VALUES_MAX
from sluice.model.site import Address, Distribution, FileSource, Site, Subscriber

NAME_MAX = 255
"""Characters of a file's name, which is added to a destination with ``/`` at its end."""
SHOWN_MAX = 3
"""Subscribers an error names before it counts."""

_UNNORMALISED = re.compile(r"/\.{0,2}(?:/|$)", re.MULTILINE)
_IS_ABSOLUTE = methodcaller("startswith", "/")
_ANYBODY = Subscriber("", Address("local"), PurePosixPath("/nowhere/sluice"))
"""Used if a destination is the same for every Subscriber and there is none yet."""


@dataclass(frozen=True, slots=True)
class JoinedTemplates:
    """Templates of texts and variables alone, one a line: rendered all at once, which is faster, if nothing is wrong with any."""

    text: str
    """As Python's format, with ``names`` for its values."""
    names: tuple[str, ...]
    number: int
    work: int
    """What rendering takes beside the characters that are made."""

    @classmethod
    def of(cls, templates: Sequence[str]) -> JoinedTemplates | None:
        """Join templates; None if one has to be looked at by itself."""
        pieces = [names_alone(each) if "{{" in each else (each.replace("%", "%%"), ()) for each in templates]
        texts = [piece for piece in pieces if piece is not None]
        if len(texts) < len(templates):
            return None
        work = sum(RENDER_WORK if "{{" in each else -len(each) for each in templates)
        return cls("\n".join(text for text, _ in texts), tuple(name for _, names in texts for name in names), len(texts), work)

    def rendered(self, variables: Mapping[str, str], work: Work, *, longest: int) -> list[str] | None:
        """Return what each renders to; None if one has to be looked at by itself, being too long or not printable, or for want of work."""
        values = [variables[name] for name in self.names]
        if self.work + len(self.text) + sum(map(len, values)) > work.left:
            return None
        made = (self.text % tuple(values)).split("\n")
        is_plain = len(made) == self.number and max(map(len, made)) <= longest and "".join(made).isprintable()
        return made if is_plain else None

    @classmethod
    def of_destinations(cls, templates: Sequence[str]) -> JoinedTemplates | None:
        """Join destinations; None if one has to be looked at by itself."""
        return None if any(each.endswith("/") for each in templates) else cls.of(templates)

    def destinations(self, variables: Mapping[str, str], work: Work) -> list[str] | None:
        """Return the destinations if ``rendered_destination`` returned the same and no two are one; None if each has to be looked at."""
        made = self.rendered(variables, work, longest=DESTINATION_MAX)
        if made is None or len({*made}) != self.number or not all(map(_IS_ABSOLUTE, made)) or _UNNORMALISED.search("\n".join(made)):
            return None
        work.take(self.work + sum(map(len, made)))
        return made


class TemplateCheck:
    """Checks the templates of one Distribution for every Subscriber that it reaches."""

    def __init__(
        self, site: Site, converter: Converter, distribution: Distribution, variables: Variables, work: Mapping[str, Work]
    ) -> None:
        self.distribution = distribution
        self.errors = converter.errors
        self.document = converter.documents["Distribution", distribution.name]
        self.subscribers = reached_subscribers(site, distribution)
        self.variables = variables
        self.work = work
        self.may_define = converter.may_define

    def run(self) -> None:
        """Append every error of destinations and actions."""
        self._check_allowed()
        self._check_undefined()
        self._check_same_templates()
        self._check_destinations()
        self._check_actions()
        self._check_number()

    def _refuse(self, path: PathKey, error: AuthorError) -> None:
        self.errors.append(self.document.error(path, error.what, error.remedy))

    def _templates(self) -> Iterator[tuple[PathKey, str]]:
        """Yield everything that may use ``{{ }}`` and wasn't refused."""
        files = ((("files", index, "destination"), entry.destination) for index, entry in enumerate(self.distribution.files))
        phases = zip(PHASES, (self.distribution.pre_actions, self.distribution.post_actions), strict=True)
        every = chain(files, *(action_templates(key, actions) for key, actions in phases))
        return (each for each in every if not self.document.is_broken(each[0]))

    def _check_allowed(self) -> None:
        for path, template in list(self._templates()):
            try:
                check(template)
                if path[0] == "files" and "{%" in template:
                    raise AuthorError("contains {%", "only {{ }} is filled in")
                if path[0] == "files" and len(template) > DESTINATION_MAX - NAME_MAX:
                    raise AuthorError(f"is longer than {DESTINATION_MAX - NAME_MAX} characters", "shorten it")
            except AuthorError as e:
                self._refuse(path, e)
                self.document.broken.add(path)

    def _check_undefined(self) -> None:
        """Refuse variables that Subscribers don't define; each is one error."""
        defining: dict[frozenset[str], list[str]] = {}
        for subscriber in self.subscribers:
            defining.setdefault(frozenset(self.variables[subscriber.name]), []).append(subscriber.name)
        for path, template in self._templates():
            missing: dict[str, list[str]] = {}
            common: dict[str, frozenset[str]] = {}
            for defined, names in defining.items():
                for variable in undefined_variables(template, defined) if "{{" in template else ():
                    missing.setdefault(variable, []).extend(names)
                    common[variable] = common.get(variable, defined) & defined
            for variable, lacking in missing.items():
                if self.errors and not may_excuse(len(lacking)):
                    return
                names = sorted(name for name in lacking if not self.may_define(name, variable))
                if not names:
                    continue
                what = f"uses {variable}, which {_some(names)} {'does' if len(names) == 1 else 'do'} not define"
                meant = or_nearest(variable, common[variable], self.errors)
                remedy = f"{meant}define {variable} under variables: of the Subscriber or of a Defaults document"
                self.errors.append(self.document.error(path, what, remedy))

    def _is_complete(self, template: str, subscriber: Subscriber) -> bool:
        """Whether every variable of a template is known of a Subscriber."""
        return is_defined(template, self.variables.get(subscriber.name, {}))

    def _check_same_templates(self) -> None:
        first: dict[str, int] = {}
        for index, entry in enumerate(self.distribution.files):
            earlier = first.setdefault(_key(entry, entry.destination), index)
            if earlier != index:
                what = f"is the destination of files[{earlier}] too"
                self.errors.append(self.document.error(("files", index, "destination"), what, "give each entry its own destination"))

    def _check_destinations(self) -> None:
        wanted = [(path, template) for path, template in self._templates() if path[0] == "files"]
        subscribers = self.subscribers
        if not any("{{" in template for _, template in wanted):
            subscribers = subscribers or [_ANYBODY]
        reported: set[PathKey] = set()
        complete: dict[frozenset[str], tuple[list[tuple[PathKey, str]], JoinedTemplates | None]] = {}
        for group in self._alike(subscribers, wanted):
            defined = frozenset(self.variables.get(group[0].name, {}))
            if defined not in complete:
                known = [each for each in wanted if self._is_complete(each[1], group[0])]
                complete[defined] = known, JoinedTemplates.of_destinations([template for _, template in known])
            templates, joined = complete[defined]
            at_once = joined.destinations(self.variables.get(group[0].name, {}), self.work[group[0].name]) if joined is not None else None
            seen: dict[str, int] = {}
            found = [(made, path) for made, (path, _) in zip(at_once, templates, strict=True)] if at_once is not None else []
            problems: list[tuple[PathKey, AuthorError]] = []
            for path, template in templates if at_once is None else ():
                rendered = self._destination(template, group[0])
                if isinstance(rendered, TooMuchWorkError):
                    self._refuse(path, rendered)
                    return
                if isinstance(rendered, AuthorError):
                    problems.append((path, rendered))
                    continue
                found.append((rendered, path))
                if (twice := self._twice(rendered, group[0], seen, int(path[1]))) is not None:
                    problems.append((path, twice))
            problems += _own(found, group)
            for path, problem in problems:
                if path not in reported:
                    reported.add(path)
                    self._refuse(path, problem)

    def _alike(self, subscribers: Iterable[Subscriber], templates: Iterable[tuple[PathKey, str]]) -> Iterable[list[Subscriber]]:
        """Group Subscribers for which all these templates render to the same."""
        used = sorted({name for _, template in templates for name in variables_of(template)})
        groups: dict[tuple[str | None, ...], list[Subscriber]] = {}
        for subscriber in subscribers:
            values = self.variables.get(subscriber.name, {})
            groups.setdefault(tuple(values.get(name) for name in used), []).append(subscriber)
        return groups.values()

    def _check_actions(self) -> None:
        reported: set[PathKey] = set()
        wanted = [(path, template) for path, template in self._templates() if path[0] != "files" and "{{" in template]
        complete: dict[frozenset[str], tuple[list[tuple[PathKey, str]], list[tuple[PathKey, str]], JoinedTemplates | None]] = {}
        as_written = sum(len(text.encode()) for path, text in self._templates() if path[0] != "files" and "{{" not in text)
        for subscriber, *_ in self._alike(self.subscribers, wanted) if wanted else ():
            size, what, work = as_written, f"for {subscriber.name} it", self.work[subscriber.name]
            values = self.variables.get(subscriber.name, {})
            if (defined := frozenset(values)) not in complete:
                known = [each for each in wanted if self._is_complete(each[1], subscriber)]
                alone = [isinstance(path[-1], int) and names_alone(template) is not None for path, template in known]
                joined = JoinedTemplates.of([template for (_, template), is_alone in zip(known, alone, strict=True) if is_alone])
                complete[defined] = known, [each for each, is_alone in zip(known, alone, strict=True) if not is_alone], joined
            templates, others, joined = complete[defined]
            at_once = joined.rendered(values, work, longest=TEXT_MAX) if joined is not None and not reported else None
            if at_once is not None:
                work.take(RENDER_WORK * len(at_once))
                size += len("".join(at_once).encode())
            for path, template in templates if at_once is None else others:
                if path in reported:
                    continue
                try:
                    made = render(template, values, what=what, work=work)
                    size += len(made.encode())
                    if problem := problem_with(path, made):
                        raise AuthorError(f"for {subscriber.name} it is {problem[0]}", problem[1])
                except AuthorError as e:
                    reported.add(path)
                    self._refuse(path, e)
                    if isinstance(e, TooMuchWorkError):
                        return
            if size > ACTIONS_BYTES and not reported:
                reported.add((path[0],))
                what = f"for {subscriber.name} the texts of all actions have {size // 1024} KiB, more than {ACTIONS_BYTES // 1024}"
                self._refuse((path[0],), AuthorError(what, "distribute the scripts as files, and run those"))

    def _check_number(self) -> None:
        """Refuse more texts than a manifest and an order hold."""
        number = sum(1 for path, _ in self._templates() if path[0] != "files") + sum(len(e.exclude) for e in self.distribution.files)
        if number > VALUES_MAX:
            what = f"has {number} arguments, scripts and excludes, more than {VALUES_MAX}"
            self._refuse(("name",), AuthorError(what, "make several Distributions of it"))

    def _destination(self, template: str, subscriber: Subscriber) -> str | AuthorError:
        what = f"for {subscriber.name} it" if subscriber is not _ANYBODY else "it"
        try:
            return rendered_destination(template, self.variables.get(subscriber.name, {}), what=what, work=self.work[subscriber.name])
        except AuthorError as e:
            return e

    def _twice(self, path: str, subscriber: Subscriber, seen: dict[str, int], index: int) -> AuthorError | None:
        files = self.distribution.files
        earlier = seen.setdefault(_key(files[index], path), index)
        if earlier != index and _key(files[earlier], files[earlier].destination) != _key(files[index], files[index].destination):
            what = f"for {subscriber.name} it is {path}, the destination of files[{earlier}] too"
            return AuthorError(what, "give each entry its own destination")
        return None


def _own(found: Sequence[tuple[str, PathKey]], group: Sequence[Subscriber]) -> Iterator[tuple[PathKey, AuthorError]]:
    """Yield those of the destinations that are in a Subscriber's own working directory."""
    owners = {str(subscriber.working_directory).rstrip("/"): subscriber.name for subscriber in reversed(group)}
    lengths = sorted(set(map(len, owners)))
    for path, key in found:
        for end in lengths:
            if path[end : end + 1] in ("", "/") and (owner := owners.get(path[:end])) and end <= len(path):
                what = f"for {owner} it is {path}, in the agent's own working directory"
                yield key, AuthorError(what, "write a destination outside it")


def _key(entry: FileSource, destination: str) -> str:
    """Return the path that no other entry may have; with ``/`` at its end it is a directory that several files may go into."""
    path = destination.rstrip("/")
    return f"{path}/{entry.source.name}" if entry.destination.endswith("/") else path


def _some(names: list[str]) -> str:
    if len(names) <= SHOWN_MAX:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:SHOWN_MAX])} and {len(names) - SHOWN_MAX} more"

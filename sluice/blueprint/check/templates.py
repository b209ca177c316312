"""Check the templates of a Distribution: allowed, defined, and rendered for every Subscriber that they reach."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath

from sluice.blueprint.author_error import AuthorError
from sluice.blueprint.check.reach import Variables, reached_subscribers
from sluice.blueprint.convert.converter import Converter
from sluice.blueprint.read.document import PathKey
from sluice.blueprint.render.recipe import rendered_destination
from sluice.blueprint.render.template import check, render, undefined_variables, variables_of
from sluice.blueprint.schema.actions import PHASES, problem_with
from sluice.blueprint.schema.actions import templates as action_templates
from sluice.model.site import Address, Distribution, FileSource, Site, Subscriber

SHOWN_MAX = 3
"""Subscribers an error names before it counts."""

_ANYBODY = Subscriber("", Address("local"), PurePosixPath("/nowhere/sluice"))
"""Used if a destination is the same for every Subscriber and there is none yet."""


class TemplateCheck:
    """Checks the templates of one Distribution for every Subscriber that it reaches."""

    def __init__(self, site: Site, converter: Converter, distribution: Distribution, variables: Variables) -> None:
        self.distribution = distribution
        self.errors = converter.errors
        self.document = converter.documents["Distribution", distribution.name]
        self.subscribers = reached_subscribers(site, distribution)
        self.variables = variables
        self._rendered: dict[tuple[str, tuple[str, ...]], str | AuthorError] = {}

    def run(self) -> None:
        """Append every error of destinations and scripts."""
        if not self._templates_are_allowed():
            return
        incomplete = self._check_undefined()
        complete = [s for s in self.subscribers if s.name not in incomplete]
        self._check_same_templates()
        self._check_destinations(complete)
        self._check_actions(complete)

    def _refuse(self, path: PathKey, error: AuthorError) -> None:
        self.errors.append(self.document.error(path, error.what, error.remedy))

    def _templates(self) -> Iterator[tuple[PathKey, str]]:
        for index, entry in enumerate(self.distribution.files):
            yield ("files", index, "destination"), entry.destination
        for key, actions in zip(PHASES, (self.distribution.pre_actions, self.distribution.post_actions), strict=True):
            yield from action_templates(key, actions)

    def _templates_are_allowed(self) -> bool:
        before = len(self.errors)
        for path, template in self._templates():
            try:
                check(template)
                if path[0] == "files" and "{%" in template:
                    raise AuthorError("contains {%", "only {{ }} is filled in")
            except AuthorError as e:
                self._refuse(path, e)
        return len(self.errors) == before

    def _check_undefined(self) -> set[str]:
        """Return the names of the Subscribers that do not define every variable; each variable is one error."""
        incomplete: set[str] = set()
        for path, template in self._templates():
            missing: dict[str, list[str]] = {}
            if "{{" in template:
                for subscriber in self.subscribers:
                    for variable in undefined_variables(template, self.variables[subscriber.name]):
                        missing.setdefault(variable, []).append(subscriber.name)
            for variable, names in missing.items():
                incomplete.update(names)
                what = f"uses {variable}, which {_some(names)} {'does' if len(names) == 1 else 'do'} not define"
                remedy = f"define {variable} under variables: of the Subscriber or of a Defaults document"
                self.errors.append(self.document.error(path, what, remedy))
        return incomplete

    def _check_same_templates(self) -> None:
        first: dict[str, int] = {}
        for index, entry in enumerate(self.distribution.files):
            earlier = first.setdefault(_key(entry, entry.destination), index)
            if earlier != index:
                what = f"is the destination of files[{earlier}] too"
                self.errors.append(self.document.error(("files", index, "destination"), what, "give each entry its own destination"))

    def _check_destinations(self, subscribers: Iterable[Subscriber]) -> None:
        if "{{" not in "".join(f.destination for f in self.distribution.files):
            subscribers = list(subscribers) or [_ANYBODY]
        reported: set[int] = set()
        for subscriber in subscribers:
            seen: dict[str, int] = {}
            for index, entry in enumerate(self.distribution.files):
                rendered = self._destination(index, entry.destination, subscriber)
                problem = rendered if isinstance(rendered, AuthorError) else self._misplaced(rendered, subscriber, seen, index)
                if problem is not None and index not in reported:
                    reported.add(index)
                    self._refuse(("files", index, "destination"), problem)

    def _check_actions(self, subscribers: Iterable[Subscriber]) -> None:
        reported: set[PathKey] = set()
        templates = [(path, template) for path, template in self._templates() if path[0] != "files" and "{{" in template]
        for subscriber in subscribers if templates else ():
            for path, template in templates:
                try:
                    made = render(template, self.variables[subscriber.name], what=f"for {subscriber.name} it")
                    if problem := problem_with(path, made):
                        raise AuthorError(f"for {subscriber.name} it is {problem[0]}", problem[1])
                except AuthorError as e:
                    if path not in reported:
                        reported.add(path)
                        self._refuse(path, e)

    def _destination(self, index: int, template: str, subscriber: Subscriber) -> str | AuthorError:
        variables = self.variables.get(subscriber.name, {})
        key = template, tuple(variables.get(n, "") for n in variables_of(template))
        if key not in self._rendered:
            what = f"for {subscriber.name} it" if subscriber is not _ANYBODY else "it"
            try:
                self._rendered[key] = rendered_destination(template, variables, what=what)
            except AuthorError as e:
                self._rendered[key] = e
        return self._rendered[key]

    def _misplaced(self, path: str, subscriber: Subscriber, seen: dict[str, int], index: int) -> AuthorError | None:
        files = self.distribution.files
        earlier = seen.setdefault(_key(files[index], path), index)
        if earlier != index and _key(files[earlier], files[earlier].destination) != _key(files[index], files[index].destination):
            what = f"for {subscriber.name} it is {path}, the destination of files[{earlier}] too"
            return AuthorError(what, "give each entry its own destination")
        own = str(subscriber.working_directory)
        if path == own or path.startswith(own.rstrip("/") + "/"):
            what = f"for {subscriber.name} it is {path}, in the agent's own working directory"
            return AuthorError(what, "write a destination outside it")
        return None


def _key(entry: FileSource, destination: str) -> str:
    """Return the path that no other entry may have; with ``/`` at its end it is a directory that several files may go into."""
    path = destination.rstrip("/")
    return f"{path}/{entry.source.name}" if entry.destination.endswith("/") else path


def _some(names: list[str]) -> str:
    if len(names) <= SHOWN_MAX:
        return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
    return f"{', '.join(names[:SHOWN_MAX])} and {len(names) - SHOWN_MAX} more"

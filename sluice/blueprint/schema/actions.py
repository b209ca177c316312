"""Pre and post actions of a blueprint (F3 to F9): their keys, and the checks of each by itself.

Effects on a host are checked there; checks that need the other actions are advice (``check/advice.py``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from sluice.blueprint.read.document import PathKey
from sluice.blueprint.schema import values
from sluice.blueprint.schema.part import Part, left_out
from sluice.blueprint.schema.values import refuse, text_value
from sluice.model.action import ARGUMENTS_MAX, PROGRAM_MAX, Action, Script, ScriptType, StartProcess, StopProcess, is_no_name
from sluice.rules.interpreters import foreign_interpreter

PHASES = ("pre_actions", "post_actions")
"""Keys of a Distribution."""


TEMPLATE_FIELDS: Mapping[type[Action], tuple[str, tuple[str, ...]]] = {
    Script: ("script", ("run", "path", "undo")),
    StartProcess: ("start_process", ("path", "arguments", "undo")),
    StopProcess: ("stop_process", ("name", "undo")),
}
"""An action's key in blueprints, and its fields that may use ``{{ }}``."""


def _host_path(text: str) -> str:
    if not values.filled(text).startswith(("/", "{{")):
        raise refuse(f"{text!r} is not an absolute path", "write the full path on the Subscriber")
    return text


def _program_name(text: str) -> str:
    if "{{" not in values.filled(text) and (problem := problem_with_name(text)):
        raise refuse(*problem)
    return text


def _script(remedy: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if not text.strip():
            raise refuse("is empty", remedy)
        return text

    return parse


HostPath = Annotated[str, text_value(_host_path, "text", "some words", minLength=1, maxLength=values.TEXT_MAX)]
ProgramName = Annotated[str, text_value(_program_name, "text", "some words", minLength=1, maxLength=values.TEXT_MAX)]
ScriptText = Annotated[str, text_value(_script("write the script's text"), "a script's text", "true")]
Undo = Annotated[str, text_value(_script("write a script that undoes it, or none"), "a script's text", "true")]


class ScriptPart(Part):
    """A script on the Subscriber."""

    type: Literal["shell", "python", "perl"] = Field(description="Its interpreter.")
    run: ScriptText | None = left_out("Its text; may use {{ }}.")
    path: HostPath | None = left_out("A file on the Subscriber instead of run.")
    undo: Undo | None = left_out("A script that undoes it when a later step fails, or none.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if (self.run is None) is (self.path is None):
            raise refuse(
                "has neither run nor path" if self.run is None else "has both run and path",
                "write run: with the text, or path: with a file",
            )
        if self.run is not None and (other := foreign_interpreter(ScriptType(self.type), self.run)):
            raise refuse(f"begins with a #! line for {other}, and type: is {self.type}", "correct the one that is wrong", "run")
        return self

    def to_model(self) -> Script:
        """Convert it into the model."""
        return Script(ScriptType(self.type), self.undo or "none", self.run or "", self.path or "")


class StartProcessPart(Part):
    """Start a program on the Subscriber; one that runs already is a failure."""

    path: HostPath = Field(description="The program's full path on the Subscriber; may use {{ }}.")
    arguments: list[values.Text] | None = left_out("Its arguments, one text each; may use {{ }}.", max_length=ARGUMENTS_MAX)
    wait: bool | None = left_out("Wait for its end, at most 10 minutes, and fail unless it succeeds; false when left out.")
    undo: Undo | None = left_out("A shell script that undoes it when a later step fails, or none.")

    def to_model(self) -> StartProcess:
        """Convert it into the model."""
        return StartProcess(self.path, tuple(self.arguments or ()), bool(self.wait), self.undo or "none")


class StopProcessPart(Part):
    """Ask every process of a name to end."""

    name: ProgramName = Field(description="The program's exact name, without a directory; may use {{ }}.")
    wait: bool | None = left_out("Wait until all are gone, at most 10 minutes; false when left out.")
    kill: bool | None = left_out("Kill processes that don't end by themselves; false when left out.")
    undo: Undo | None = left_out("A shell script that starts it again when a later step fails, or none.")

    def to_model(self) -> StopProcess:
        """Convert it into the model."""
        return StopProcess(self.name, bool(self.wait), bool(self.kill), self.undo or "none")


class ActionPart(Part):
    """One pre or post action."""

    script: ScriptPart | None = left_out("Run a script.")
    start_process: StartProcessPart | None = left_out("Start a program.")
    stop_process: StopProcessPart | None = left_out("Stop every process of a name.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        given = [key for key in ActionPart.model_fields if getattr(self, key) is not None]
        if len(given) != 1:
            what = "is not an action" if not given else f"has {' and '.join(given)}"
            raise refuse(what, f"write one of {', '.join(ActionPart.model_fields)}; several actions are several entries of the list")
        return self

    @property
    def key(self) -> str:
        """``script``, ``start_process`` or ``stop_process``."""
        return next(key for key in ActionPart.model_fields if getattr(self, key) is not None)

    @property
    def given(self) -> ScriptPart | StartProcessPart | StopProcessPart:
        """Return the value under the key."""
        found: ScriptPart | StartProcessPart | StopProcessPart = getattr(self, self.key)
        return found

    def lacks_undo(self) -> bool:
        """Whether its author must give an ``undo:`` if rollback is on (F9).

        Sluice itself ends a started process that isn't waited for; a stopped process is only advice, since stopping loses nothing.
        """
        given = self.given
        return given.undo is None and (isinstance(given, ScriptPart) or (isinstance(given, StartProcessPart) and bool(given.wait)))


def templates(key: str, actions: tuple[Action, ...]) -> Iterator[tuple[PathKey, str]]:
    """Yield the path and text of everything in actions that may use ``{{ }}``."""
    for index, action in enumerate(actions):
        name, fields = TEMPLATE_FIELDS[type(action)]
        for field in fields:
            value = getattr(action, field)
            if isinstance(value, tuple):
                yield from (((key, index, name, field, number), text) for number, text in enumerate(value) if text)
            elif value:
                yield (key, index, name, field), value


def with_templates(action: Action, rendered: Callable[[str], str]) -> Action:
    """Replace every text of an action that may use ``{{ }}``."""
    changed: dict[str, Any] = {}
    for field in TEMPLATE_FIELDS[type(action)][1]:
        value = getattr(action, field)
        changed[field] = tuple(map(rendered, value)) if isinstance(value, tuple) else rendered(value)
    return replace(action, **changed)


def problem_with(path: PathKey, made: str) -> tuple[str, str] | None:
    """Return the problem of a rendered text of an action and the remedy; None if it is valid."""
    if path[-1] == "path" and not made.startswith("/"):
        return f"{made!r}, not an absolute path", "write the full path"
    if path[2:] == ("stop_process", "name") and (problem := problem_with_name(made)):
        return f"{made!r}, which {problem[0]}", problem[1]
    if path[-1] in ("run", "undo") and not made.strip():
        return "empty", "write the script's text, or give the variable a value"
    if path[-1] != "undo" and path[-1] != "run" and len(made) > values.TEXT_MAX:
        return f"longer than {values.TEXT_MAX} characters", "shorten it"
    return None


def problem_with_name(name: str) -> tuple[str, str] | None:
    """Return the problem of the name of a program to stop and the remedy; None if it is valid."""
    if "/" in name:
        last = name.rstrip("/").rpartition("/")[2]
        return "is a path, not a name", f"write {last}" if last else "write the program's name"
    if is_no_name(name):
        return "is not the name of a program", f"write the name that ps shows, at most {PROGRAM_MAX} characters"
    return None

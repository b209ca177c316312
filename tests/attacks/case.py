"""What an attack is here: a builder that turns a genuine world into one attack, and what the victim must say to it.

A case without a twist is its family's positive control: built the same way and accepted, so that none is refused for a wrong reason.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

W = TypeVar("W")

SAID_MAX = 4096
"""Most characters of what an error says: it may quote what it was sent, but not all of it."""


@dataclass(frozen=True)
class Case(Generic[W]):
    """One attack on one kind of victim."""

    family: str
    name: str
    attack: Callable[[W], str]
    """Carries it out; what the victim said: the name of an error, or of what it did."""
    answers: frozenset[str]
    """What it may say; where several are right, a race decides."""
    is_control: bool = False

    def __str__(self) -> str:
        return f"{self.family}: {self.name}"


class Family(Generic[W]):
    """Cases built alike."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.cases: list[Case[W]] = []

    def refuses(self, name: str, answer: str, attack: Callable[[W], str]) -> None:
        """An attack; ``answer`` is the error, or several with ``|`` between them."""
        self.cases.append(Case(self.name, name, attack, frozenset(answer.split("|"))))

    def accepts(self, name: str, answer: str, attack: Callable[[W], str]) -> None:
        """A control."""
        self.cases.append(Case(self.name, name, attack, frozenset({answer}), is_control=True))


def said(reply: dict[str, Any]) -> str:
    """What an agent answered, in a word: an error's code, a receipt's failure or outcome, or the reply's type."""
    if reply["type"] == "error":
        assert len(reply["message"] + reply["remedy"]) <= SAID_MAX, reply["message"][:SAID_MAX]
        return str(reply["code"])
    if reply["type"] == "receipt":
        receipt = json.loads(reply["envelope"]["payload"])
        return str(receipt["failure"]["code"] if receipt["failure"] else receipt["outcome"])
    return str(reply["type"])

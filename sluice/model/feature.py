"""Abilities of an agent, by name (F10): its ``hello`` lists them, and a sender compares them with the needed ones before it sends anything.

A feature is added together with the ability that it names, at the end, and never changes its meaning or its place; every agent of this
version has all of them.
"""

from __future__ import annotations

from collections.abc import Collection
from enum import StrEnum


class Feature(StrEnum):
    """One word of the agent protocol's ``features``."""

    SCRIPT = "script"
    """Shell and Python scripts."""
    PERL = "perl"
    START_PROCESS = "start process"
    STOP_PROCESS = "stop process"
    REHEARSE = "rehearse"
    """Answers dry runs of actions and removals."""
    LOCKED = "locked"
    """Waits for locked targets as its order asks."""
    MIN_FREE = "min free"
    """Keeps as much space free as an order or a put asks."""
    DELTA = "delta"
    """Receives deltas, completes them, and accepts supplements of contents that its tree lacks; answers about the Distributions that it is
    asked about, and accepts metadata as differences from its own."""
    SYNCHRONIZE = "synchronize"
    """Removes paths from a destination that a revision lacks."""
    OWNER = "owner"
    """Sets owners; only an agent that runs as root has it."""
    XATTRS = "xattrs"
    """Sets extended attributes."""
    REMOVALS = "removals"
    """Obeys ``max_removals`` and ``exclude`` of a destination, and reads manifests of version 3."""
    HARD_LINKS = "hard links"
    """Keeps hard links within a destination."""
    BACKSLASH = "backslash"
    """Takes paths with a backslash in them."""
    RENAME = "rename"
    """Takes over whatever a Distribution placed under its former name."""
    RELEASE = "release"
    """Carries out orders to release a Distribution."""
    DIRECTORY_MODE = "directory mode"
    """Gives directories that stood before the source's mode if ``directory_mode`` of a destination says so."""
    TEMPLATES = "templates"
    """Reads manifests with a path or name of an action that is a template, such as ``{{ DEST }}/x``."""
    VERIFY = "verify"
    """Reads every file back, or writes every file anew, if its order asks; counts the files that it read."""
    STOP_CODES = "stop codes"
    """Names the error of each reason to stop, if a dry run asks for it."""
    DRY_RUN = "dry run"
    """Answers dry runs of extractions, and obeys ``allow_removals`` of an order: it stops before more than ``max_removals`` goes."""
    PHASES = "phases"
    """Tells at once when a phase of an extraction begins and when an action has ended."""


def counted(names: Collection[str]) -> tuple[int, list[str]]:
    """Return names of features in few bytes: all of this version but the listed ones."""
    return len(Feature), [feature.value for feature in Feature if feature not in names]


def named(first: int, lacking: Collection[str]) -> frozenset[str]:
    """Return the names that ``counted`` gave, as far as this version knows them: a later one counts more."""
    return frozenset(feature.value for feature in list(Feature)[:first]) - frozenset(lacking)

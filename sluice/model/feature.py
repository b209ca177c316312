"""What an agent can do, by name (F10): told in its ``hello``, compared with what a Distribution needs before anything is sent.

A feature is added with what it names, and never changes its meaning; every agent of this version has all of them.
"""

from __future__ import annotations

from enum import StrEnum


class Feature(StrEnum):
    """One word of the agent protocol's ``features``."""

    SCRIPT = "script"
    """Shell and Python scripts."""
    PERL = "perl"
    START_PROCESS = "start process"
    STOP_PROCESS = "stop process"
    REHEARSE = "rehearse"
    """Says what actions would meet, for a dry run."""
    LOCKED = "locked"
    """Waits for locked targets as an order says."""
    MIN_FREE = "min free"
    """Leaves as much space free as an order or a put says."""
    DELTA = "delta"
    """Takes deltas, completes them, is lent what its tree lacks; speaks of what it is asked about, takes metadata against what it holds."""
    SYNCHRONIZE = "synchronize"
    """Removes from a destination what a revision lacks."""
    OWNER = "owner"
    """Sets owners; only of an agent that runs as root."""
    XATTRS = "xattrs"
    """Sets extended attributes."""

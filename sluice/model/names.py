"""The only home of the rule of names (A9, A10) of Distributors, Subscribers, Channels and Distributions.

TED refused periods because a Distribution with one was silently never sent. The rest keeps a name safe as a file name, a
TUF role, a URL segment and a Prefect tag on every platform.
"""

from __future__ import annotations

import re

NAME_MAX = 64
"""Longest name in characters; leaves room for prefixes in file names of 255 bytes."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")


def name_is_valid(name: str) -> bool:
    """Whether ``name`` is one to 64 letters, digits, ``-`` and ``_``, beginning with a letter or digit."""
    return _NAME.fullmatch(name) is not None


def suggested_name(name: str) -> str:
    """Return the nearest valid name: every invalid character becomes ``-``."""
    cleaned = re.sub(r"[^A-Za-z0-9_-]+", "-", name).strip("-_")[:NAME_MAX]
    return cleaned or "unnamed"

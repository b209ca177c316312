"""Examine the sources of a Distributor's Distributions: nothing is read but their own names. A build judges everything below."""

from __future__ import annotations

import os
import stat

from sluice.model.known import LedgerSnapshot
from sluice.model.site import Distribution, Distributor, Site
from sluice.rules.diagnosis import Finding, Health
from sluice.rules.wording import counted


def sources(site: Site, distributor: Distributor, snapshot: LedgerSnapshot | None) -> list[Finding]:
    """Find sources that are missing, can't be read, or are empty although the last revision had files."""
    found = []
    for subject in sorted(site.distributions_of_distributor(distributor.name), key=lambda each: each.name):
        if subject.active:
            found += _of(subject, snapshot)
    return found


def _of(subject: Distribution, snapshot: LedgerSnapshot | None) -> list[Finding]:
    built = snapshot.built.get(subject.name) if snapshot else None
    bad = []
    for path in sorted({str(each.source) for each in subject.files}):
        problem = _problem(path)
        if problem:
            remedy = f"see its owner, mode and mount on this machine, or change `source:` of {subject.name}"
            bad.append(Finding(Health.FAILED, "source", path, f"{subject.name} can't be built: {problem}", remedy))
        elif _is_empty(path) and built is not None and built.files:
            had = f"it is empty, and {subject.name} {built.revision} has {counted(built.files, 'file')}"
            bad.append(Finding(Health.WARNING, "source", path, had, "see whether it is mounted; if it is meant to be empty, build it"))
    return bad or [Finding(Health.OK, "source", subject.name, f"{counted(len(subject.files), 'source')} can be read")]


def _problem(path: str) -> str:
    try:
        mode = os.stat(path).st_mode
    except OSError as error:
        return error.strerror or "it can't be looked at"
    wanted = os.R_OK | os.X_OK if stat.S_ISDIR(mode) else os.R_OK
    if not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
        return "it is neither a file nor a directory"
    return "" if os.access(path, wanted) else "this account may not read it"


def _is_empty(path: str) -> bool:
    if not os.path.isdir(path):
        return False
    with os.scandir(path) as names:
        return next(names, None) is None

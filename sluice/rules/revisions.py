"""Which number the next revision gets, and which revisions it puts out of use (C2 to C5, C7, C8, C12). Pure.

File Distributions are kept as a baseline and what follows it: when the baseline has ``max_revisions`` revisions the next one begins a new
baseline, and everything of older baselines goes once that one stands. Distributions that are built whole each time
are baselines one and all, and lose the oldest beyond the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence

from sluice.model.revision import RevisionNumber

FIRST = RevisionNumber(1, 1)


def next_revision(
    newest: RevisionNumber | None, *, max_revisions: int | None, rebaseline: bool = False, whole: bool = False
) -> RevisionNumber:
    """The number of the revision after ``newest``.

    Args:
        newest: The last one built; None before the first.
        max_revisions: Revisions a baseline may count, itself included; None is unlimited.
        rebaseline: Begin a new baseline whatever the count (C8).
        whole: The type builds every revision whole (C5).
    Source: TED "Maximum revisions".
    """
    if newest is None:
        return FIRST
    full = max_revisions is not None and newest.number >= max_revisions
    if rebaseline or whole or full:
        return RevisionNumber(newest.baseline + 1, 1)
    return RevisionNumber(newest.baseline, newest.number + 1)


def nears_maximum(number: RevisionNumber, *, max_revisions: int | None, when_left: int) -> bool:
    """Whether a revision has at most ``when_left`` after it in its baseline, so that somebody is told (C7)."""
    return max_revisions is not None and number.number + when_left >= max_revisions


def superseded(kept: Sequence[RevisionNumber], *, max_revisions: int | None, whole: bool = False) -> tuple[RevisionNumber, ...]:
    """Those of the kept revisions that are to be deleted now, oldest first; the newest never is."""
    ordered = sorted(kept)
    if not ordered:
        return ()
    if not whole:
        return tuple(r for r in ordered if r.baseline != ordered[-1].baseline)
    return () if max_revisions is None else tuple(ordered[: max(0, len(ordered) - max_revisions)])


def delta_bases(number: RevisionNumber, newest: RevisionNumber | None, *, max_revisions: int | None) -> tuple[RevisionNumber | None, ...]:
    """For whom contents are composed when a revision is built: None is everybody (``distfile.ted``), else holders of a base.

    A baseline is made whole, and a delta from the last revision too, before that one goes (C3); at a maximum of one revision nothing is
    ever a delta (C4). Any other is a delta from the one before; deltas from other kept ones are made when first needed.
    """
    if newest is None or max_revisions == 1:
        return (None,)
    return (None, newest) if number.is_baseline else (newest,)

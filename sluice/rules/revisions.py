"""Decide the number of the next revision and which revisions it makes obsolete (C2 to C5, C7, C8, C12). Pure.

Of a File Distribution a baseline and the revisions after it are kept: when the baseline has ``max_revisions`` revisions the next one
begins a new baseline, and everything of older baselines is deleted once that one exists. Distributions that are built whole each time
have only baselines, and lose the oldest beyond the maximum.
"""

from __future__ import annotations

from collections.abc import Sequence

from sluice.model.revision import RevisionNumber

FIRST = RevisionNumber(1, 1)


def next_revision(
    newest: RevisionNumber | None, *, max_revisions: int | None, rebaseline: bool = False, whole: bool = False
) -> RevisionNumber:
    """Return the number of the revision after ``newest``.

    Args:
        newest: The last one built; None before the first.
        max_revisions: Most revisions of a baseline, itself included; None is unlimited.
        rebaseline: Begin a new baseline whatever their number (C8).
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
    """Whether at most ``when_left`` revisions remain after this one in its baseline, so that a mail is due (C7)."""
    return max_revisions is not None and number.number + when_left >= max_revisions


def superseded(kept: Sequence[RevisionNumber], *, max_revisions: int | None, whole: bool = False) -> tuple[RevisionNumber, ...]:
    """Return the kept revisions that are to be deleted now, oldest first; the newest never is."""
    ordered = sorted(kept)
    if not ordered:
        return ()
    if not whole:
        return tuple(r for r in ordered if r.baseline != ordered[-1].baseline)
    return () if max_revisions is None else tuple(ordered[: max(0, len(ordered) - max_revisions)])


def delta_bases(number: RevisionNumber, newest: RevisionNumber | None, *, max_revisions: int | None) -> tuple[RevisionNumber | None, ...]:
    """Return the bases for which a ``.ted`` is composed when a revision is built; None stands for the whole one (``distfile.ted``).

    A baseline is made whole, and as a delta from the last revision too, before that one is deleted (C3); at a maximum of one revision
    there are no deltas (C4). Any other is a delta from the one before; deltas from other kept ones are made when first needed.
    """
    if newest is None or max_revisions == 1:
        return (None,)
    return (None, newest) if number.is_baseline else (newest,)

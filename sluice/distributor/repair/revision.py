"""Repair what a send found wrong at the Distributor: damage at rest (E4), or a revision that went with its baseline (C3).

The damaged ``.ted`` is renamed ``.corrupt`` and composed again from contents; damaged contents come back from the sources or a full
``.ted``; if even that fails, a new baseline is built from the sources as they are. Then the Channel's next start sends it. A copy that
is sound isn't made again: an error on the way or on the Subscriber changes nothing here.

Many Subscribers may meet the same damage at once: one repairs it, the others get the same explanation.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.distributor.context import DistributorContext
from sluice.distributor.repair.store import Verdict, record_damage, verify_store
from sluice.errors import NotFoundError, SluiceError, StoreCorruptError, StoreError, StoreMendedError, SupersededError
from sluice.model.revision import RevisionNumber


@dataclass
class Mender:
    """Repairs a Distributor's Distributions for the sends of one flow run. May be called from many threads."""

    context: DistributorContext
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False)
    _explained: dict[str, str | SluiceError] = field(default_factory=dict, init=False)
    """How each Distribution was repaired, empty if it is sound; or why it couldn't be."""

    def repair_and_explain(self, distribution: str, revision: RevisionNumber, error: SluiceError) -> SluiceError:
        """Return the error that a send which raised ``error`` ends with: if that was damage at rest here, it is repaired now.

        Returns:
            StoreMendedError or SupersededError, which wait for the Channel's next start; else an error as bad as the one given.
        """
        if isinstance(error, NotFoundError | StoreError) and (newest := self._newer(distribution, revision)) is not None:
            return SupersededError(
                f"{distribution} {revision} isn't kept any more: {newest} was built while it was to be sent",
                remedy=f"nothing to do: {newest} is sent at the Channel's next start; to send it now, run: sluice send {distribution}",
            )
        if not isinstance(error, StoreCorruptError) or error.is_reported:  # a Subscriber's claim has nobody read our store through
            return error
        with self._lock:
            if distribution not in self._explained:
                try:
                    self._explained[distribution] = self._repair(distribution)
                except SluiceError as failed:
                    self._explained[distribution] = failed
            explanation = self._explained[distribution]
        if isinstance(explanation, SluiceError):
            return explanation
        if not explanation:
            return error
        return StoreMendedError(
            f"{distribution} {revision} was damaged at the Distributor: {explanation}",
            remedy=f"nothing to do: it is sent at the Channel's next start; to send it now, run: sluice send {distribution}",
        )

    def _newer(self, distribution: str, revision: RevisionNumber) -> RevisionNumber | None:
        """Find the revision that superseded another; None if that is kept, or none is."""
        kept = self.context.store.revisions(distribution)
        return kept[-1] if kept and revision not in kept and kept[-1] > revision else None

    def _repair(self, distribution: str) -> str:
        """Repair a Distribution, and say in one sentence how; empty if all is sound."""
        verified = verify_store(self.context, (distribution,), repair=True)
        if not verified.verdicts:
            return ""
        record_damage(self.context, verified.verdicts)
        done = "; ".join(_described(verdict) for verdict in verified.verdicts)
        if verified.unmended:
            built = build_recorded(self.context, distribution, rebaseline=True)
            done += f"; built {built.revision or built.previous} anew from the sources"
        sign_recorded(self.context, (distribution,))
        return done


def _described(verdict: Verdict) -> str:
    damage = verdict.damage
    return f"{damage.part} {damage.path}".strip() + f" ({damage.problem})" + (f" {verdict.mended}" if verdict.mended else "")

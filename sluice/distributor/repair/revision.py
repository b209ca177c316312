"""What was to be sent can't be, for a reason of the Distributor's own: it is damaged at rest (E4), or went with its baseline (C3).

The damaged ``.ted`` is renamed ``.corrupt`` and composed again from contents; damaged contents come back from the sources or a whole
``.ted``; where even that fails, a new baseline is built from what the sources have now. Then the Channel's next start sends it. A copy that
is sound isn't made again: what went wrong on the way or on the Subscriber changes nothing here.

Many Subscribers may meet the same damage at once: one looks, the others are told the same.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

from sluice.distributor.build.build import BuildResult
from sluice.distributor.repair.store import Verdict, record_damage, verify_store
from sluice.errors import NotFoundError, SluiceError, StoreCorruptError, StoreError, StoreMendedError, SupersededError
from sluice.model.revision import RevisionNumber
from sluice.model.site import Site
from sluice.ports import Clock, Ledger, Source, Store
from sluice.trust.publish import Publisher


class Mender:
    """Mends a Distributor's Distributions for the sends of one flow run. May be called from many threads."""

    def __init__(
        self,
        site: Site,
        distributor: str,
        *,
        store: Store,
        source: Source,
        publisher: Publisher,
        ledger: Ledger,
        clock: Clock,
        flow_run: str,
        rebuild: Callable[[str], BuildResult],
        sign: Callable[[str], object],
    ) -> None:
        """Nothing happens yet.

        Args:
            rebuild: Builds a new baseline of a Distribution and records it.
            sign: Publishes what the store has of one.
        """
        self._site, self._distributor = site, distributor
        self._store, self._source, self._publisher = store, source, publisher
        self._ledger, self._clock, self._flow_run = ledger, clock, flow_run
        self._rebuild, self._sign = rebuild, sign
        self._lock = threading.Lock()
        self._told: dict[str, str | SluiceError] = {}

    def mended(self, distribution: str, revision: RevisionNumber, error: SluiceError) -> SluiceError:
        """What a send that raised ``error`` ends with: where that was damage at rest here, it is mended now.

        Returns:
            StoreMendedError or SupersededError, which wait for the Channel's next start; else an error as bad as the one given.
        """
        if isinstance(error, NotFoundError | StoreError) and (newest := self._newer(distribution, revision)) is not None:
            return SupersededError(
                f"{distribution} {revision} isn't kept any more: {newest} was built while it was to be sent",
                remedy=f"nothing: {newest} is sent at the Channel's next start, or now by `sluice send`",
            )
        if not isinstance(error, StoreCorruptError) or error.is_reported:  # one Subscriber's damage has nobody read our store through
            return error
        with self._lock:
            if distribution not in self._told:
                try:
                    self._told[distribution] = self._mend(distribution)
                except SluiceError as failed:
                    self._told[distribution] = failed
            told = self._told[distribution]
        if isinstance(told, SluiceError):
            return told
        if not told:
            return error
        return StoreMendedError(
            f"{distribution} {revision} was damaged at the Distributor: {told}",
            remedy="nothing: it is sent at the Channel's next start, or now by `sluice send`",
        )

    def _newer(self, distribution: str, revision: RevisionNumber) -> RevisionNumber | None:
        """What stands in a revision's place; None where it is kept, or nothing is."""
        kept = self._store.revisions(distribution)
        return kept[-1] if kept and revision not in kept and kept[-1] > revision else None

    def _mend(self, distribution: str) -> str:
        """What was done, as a sentence; empty where all is sound."""
        verified = verify_store(
            (distribution,),
            distributions=self._site.distributions,
            store=self._store,
            source=self._source,
            publisher=self._publisher,
            repair=True,
        )
        if not verified.verdicts:
            return ""
        record_damage(verified.verdicts, distributor=self._distributor, ledger=self._ledger, clock=self._clock, flow_run=self._flow_run)
        done = "; ".join(_said(verdict) for verdict in verified.verdicts)
        if verified.unmended:
            built = self._rebuild(distribution)
            done += f"; built {built.revision or built.previous} anew from the sources"
        self._sign(distribution)
        return done


def _said(verdict: Verdict) -> str:
    damage = verdict.damage
    return f"{damage.part} {damage.path}".strip() + f" ({damage.problem})" + (f" {verdict.mended}" if verdict.mended else "")

"""The attack matrix: whoever speaks to a Subscriber or a Distributor, or writes beside one, gets nothing accepted, and little used up.

One test per case; every case is judged alike (``subscriber.py``). docs/threat-model.md says what the families stand for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.attacks.authors import AUTHORS, Author
from tests.attacks.bombs import JSON, ZSTD
from tests.attacks.case import Case
from tests.attacks.deltas import DELTAS
from tests.attacks.distributor import Distributor
from tests.attacks.forked import Nursery
from tests.attacks.frames import FRAMES
from tests.attacks.keys import KEYS, ROOTS
from tests.attacks.lending import COMPLETE, LENT
from tests.attacks.liars import HELLO, RECEIPTS, REPLIES
from tests.attacks.mixing import CONTENT, MIX
from tests.attacks.orders import ORDERS
from tests.attacks.places import PREPARED, RACING
from tests.attacks.rehearsals import REHEARSALS
from tests.attacks.replay import FREEZE, ROLLBACK, WIPED
from tests.attacks.signed import NAMES, PLACES, SIZES
from tests.attacks.subscriber import Subscriber

pytestmark = [pytest.mark.timeout(180), pytest.mark.slow]

ON_SUBSCRIBERS = [KEYS, ROOTS, ROLLBACK, WIPED, FREEZE, MIX, CONTENT, NAMES, SIZES, PLACES, ZSTD, JSON, FRAMES, ORDERS, PREPARED, RACING]
ON_SUBSCRIBERS += [DELTAS, LENT, COMPLETE, REHEARSALS]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def oslo(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Subscriber:
    return Subscriber(tmp_path_factory.mktemp("attacks") / "sandbox", nursery)


ON_DISTRIBUTORS = [HELLO, REPLIES, RECEIPTS]

EVIDENCE: dict[str, str] = {}


@pytest.mark.parametrize("case", [case for family in ON_SUBSCRIBERS for case in family.cases], ids=str)
def test_a_subscriber_accepts_nothing_of(case: Case[Subscriber], oslo: Subscriber) -> None:
    oslo.fresh()
    try:
        oslo.judge(case)
        if not case.is_control:
            EVIDENCE[str(case)] = oslo.evidence()
    finally:
        oslo.end()


KEY = Ed25519PrivateKey.from_private_bytes(bytes(32))


@pytest.mark.parametrize("case", [case for family in ON_DISTRIBUTORS for case in family.cases], ids=str)
def test_a_distributor_believes_nothing_of(case: Case[Distributor], tmp_path: Path) -> None:
    hq = Distributor(tmp_path, KEY)
    try:
        hq.judge(case)
        if not case.is_control:
            EVIDENCE[str(case)] = hq.evidence()
    finally:
        hq.bench.ledger.close()


@pytest.mark.parametrize("case", AUTHORS.cases, ids=str)
def test_a_build_takes_nothing_of(case: Case[Author], tmp_path: Path) -> None:
    Author(tmp_path).judge(case)


ATTACKS = [case for family in [*ON_SUBSCRIBERS, *ON_DISTRIBUTORS, AUTHORS] for case in family.cases if not case.is_control]
ATTACKS_MIN = 300


def test_there_are_enough_of_them_in_every_family_each_with_a_control() -> None:
    assert len(ATTACKS) >= ATTACKS_MIN
    assert len({str(case) for case in ATTACKS}) == len(ATTACKS)
    for family in [*ON_SUBSCRIBERS, *ON_DISTRIBUTORS, AUTHORS]:
        assert len([case for case in family.cases if not case.is_control]) >= 5, family.name
        assert [case for case in family.cases if case.is_control], family.name


def test_no_two_of_those_that_ran_are_the_same() -> None:
    """The same bytes among the same files would be the same attack under two names."""
    names: dict[str, list[str]] = {}
    for name, evidence in EVIDENCE.items():
        names.setdefault(evidence, []).append(name)
    assert [each for each in names.values() if len(each) > 1] == []

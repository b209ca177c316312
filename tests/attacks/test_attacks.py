"""The attack matrix: whoever speaks to a Subscriber or a Distributor, or writes beside one, gets nothing accepted, and little used up.

One test per case; every case is judged alike (``subscriber.py``). docs/threat-model.md says what the families stand for.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.attacks.case import Case
from tests.attacks.forked import Nursery
from tests.attacks.keys import KEYS, ROOTS
from tests.attacks.mixing import CONTENT, MIX
from tests.attacks.replay import FREEZE, ROLLBACK, WIPED
from tests.attacks.signed import NAMES, PLACES, SIZES
from tests.attacks.subscriber import Subscriber

pytestmark = pytest.mark.timeout(60)

ON_SUBSCRIBERS = [KEYS, ROOTS, ROLLBACK, WIPED, FREEZE, MIX, CONTENT, NAMES, SIZES, PLACES]


@pytest.fixture(scope="module")
def nursery() -> Iterator[Nursery]:
    nursery = Nursery()
    yield nursery
    nursery.close()


@pytest.fixture(scope="module")
def oslo(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Subscriber:
    return Subscriber(tmp_path_factory.mktemp("attacks") / "sandbox", nursery)


EVIDENCE: dict[str, str] = {}


@pytest.mark.parametrize("case", [case for family in ON_SUBSCRIBERS for case in family.cases], ids=str)
def test_a_subscriber_accepts_nothing_of(case: Case[Subscriber], oslo: Subscriber) -> None:
    oslo.fresh()
    try:
        oslo.judge(case)
        EVIDENCE[str(case)] = oslo.evidence()
    finally:
        oslo.end()

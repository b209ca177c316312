"""Predict the bytes of sends for ``sluice plan`` and dry runs (C11): rows for each Subscriber and Distribution, and sums for each link."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cli.session import Session, now, out
from cli.tables import size, table
from sluice.rules.wording import counted

if TYPE_CHECKING:
    from sluice.distributor.plan.sends import SendTarget
    from sluice.distributor.predict.predictor import Prediction
    from sluice.rules.forecast import Forecast

SENDS_MAX = 10_000
"""Last sends of a Distributor to look through."""

Predictions = dict[tuple[str, str], "Prediction"]
"""By Subscriber and Distribution."""


def predicted(session: Session, targets: Iterable[SendTarget], *, exact: bool, extracting: Collection[tuple[str, str]]) -> Predictions:
    """Make a prediction for each target that is due; none if its Distributor has no trust yet.

    Args:
        exact: Take the time to make missing deltas, in a temporary directory.
        extracting: Pairs that extract at once what they are sent.
    """
    found: Predictions = {}
    due = [target for target in targets if target.is_due]
    for distributor in sorted({session.site.distribution(target.distribution).distributor for target in due}):
        mine = [target for target in due if session.site.distribution(target.distribution).distributor == distributor]
        found |= _predicted_of(session, distributor, mine, exact, extracting)
    return found


def prediction_json(target: SendTarget, prediction: Prediction | None) -> dict[str, Any]:
    """Make ``{"subscriber", "distribution", "revision", "base", "bytes", "exact", "makes_delta", "link"}`` and the time, as ``_time_json``.

    Bytes are both ways; null: unknown.
    """
    from sluice.rules.forecast import Forecast

    return {
        "subscriber": target.subscriber,
        "distribution": target.distribution,
        "revision": None if target.revision is None else str(target.revision),
        "base": str(prediction.base) if prediction and prediction.base else None,
        "bytes": prediction.bytes if prediction else None,
        "exact": prediction.is_exact if prediction else None,
        "makes_delta": prediction.makes if prediction else None,
        **_time_json(
            prediction.time if prediction else Forecast(None, None, "nothing is signed yet" if target.is_due else "it isn't sent")
        ),
        "link": prediction.link if prediction else None,
    }


def links_json(rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Make ``[{"link", "sends", "bytes", "exact"}]`` with the time: the sends to each host together; it is unknown if one's is."""
    from sluice.rules.forecast import together

    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        if row["link"] is not None:
            found.setdefault(row["link"], []).append(row)
    return [
        {
            "link": link,
            "sends": len(sends),
            "bytes": sum(row["bytes"] for row in sends),
            "exact": all(row["exact"] for row in sends),
            **_time_json(together(map(_forecast, sends))),
        }
        for link, sends in sorted(found.items())
    ]


def bytes_cell(row: Mapping[str, Any]) -> str:
    """Write ``about 1.2 MB`` if it isn't exact, ``-`` if it is unknown."""
    if row["bytes"] is None:
        return "-"
    return size(row["bytes"]) if row["exact"] else f"about {size(row['bytes'])}"


def time_cell(row: Mapping[str, Any]) -> str:
    """Write the time as it is foretold, or ``unknown``."""
    from sluice.rules.forecast import in_words

    return in_words(_forecast(row))


def show_links(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print the sums of each link and of all, why times are unknown, and which deltas aren't made yet."""
    links = links_json(rows)
    cells = [[link["link"], str(link["sends"]), bytes_cell(link), time_cell(link)] for link in links]
    if cells:
        out(table(["link", "sends", "both ways", "time"], cells, right={"sends", "both ways", "time"}))
        total = {"bytes": sum(link["bytes"] for link in links), "exact": all(link["exact"] for link in links)}
        out(f"{counted(sum(link['sends'] for link in links), 'send')}, {bytes_cell(total)} in both directions")
    due = [row for row in rows if not row.get("reason")]
    unknown = Counter((row["link"] or row["subscriber"], row["time_basis"]) for row in due if row["seconds"] is None)
    for (link, why), number in unknown.items():
        out(f"the time of {counted(number, 'send')} to {link} is unknown: {why}")
    making = [(row["distribution"], row["revision"], row["base"]) for row in due if row["makes_delta"]]
    for name, revision, base in dict.fromkeys(making):
        made = f"the delta of {name} {revision} from {base}" if base else f"the .ted of {name} {revision}"
        out(f"{made} isn't made yet: the first send makes it")


def _time_json(time: Forecast) -> dict[str, Any]:
    """Make ``{"seconds", "seconds_least", "seconds_most", "time_basis"}``: the basis is what the time rests on, or why it is unknown."""
    figures = {"seconds": time.seconds, "seconds_least": time.least, "seconds_most": time.most}
    return {name: None if each is None else round(each, 1) for name, each in figures.items()} | {"time_basis": time.basis}


def _forecast(row: Mapping[str, Any]) -> Forecast:
    from sluice.rules.forecast import Forecast

    return Forecast(row["seconds_least"], row["seconds_most"], row["time_basis"])


def _predicted_of(
    session: Session, distributor: str, targets: list[SendTarget], exact: bool, extracting: Collection[tuple[str, str]]
) -> Predictions:
    from cli.ledgers import ledger_of
    from infra.store.files import FileStore
    from sluice.blueprint.render.recipe import recipe
    from sluice.distributor.predict.predictor import Predictor, link_of
    from sluice.model.event import EventKind
    from sluice.rules.lifetimes import longest_send_interval
    from sluice.trust.projected import ProjectedPublisher

    site, found = session.site, Predictions()
    if not session.has_trust(distributor):
        return found
    with ledger_of(site, distributor) as ledger:
        events = [] if ledger is None else [e.event for e in ledger.events(kinds=[EventKind.SENT], limit=SENDS_MAX, newest_first=True)]
        pairs = [(target.subscriber, target.distribution) for target in targets]
        states = {} if ledger is None else ledger.states(distributions={d for _, d in pairs}, subscribers={s for s, _ in pairs})
    store = session.store(targets[0].distribution)
    with Predictor(
        distributor,
        store=store,
        publisher=ProjectedPublisher(Path(site.distributor(distributor).working_directory), distributor=distributor),
        states=states,
        sends=[event for event in events if event.distributor == distributor],
        longest_interval=longest_send_interval(site, distributor),
        now=now(),
        making=store.projected_delta if exact and isinstance(store, FileStore) else None,
        links={name: link_of(subscriber) for name, subscriber in site.subscribers.items()},
    ) as predictor:
        for target in targets:
            pair = target.subscriber, target.distribution
            rendered = recipe(site, target.distribution, target.subscriber) if pair in extracting else None
            found[pair] = predictor.predict(site.subscriber(target.subscriber), target.assignment, rendered)
    return found

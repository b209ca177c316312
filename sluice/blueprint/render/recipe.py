"""Recipes: one Distribution for one Subscriber, with that Subscriber's variables filled in (D15).

Predefined for every Subscriber: ``NAME``, ``PLATFORM`` (empty if none is given) and ``WORKING_DIRECTORY``; for a ``local:``
one also ``LOCAL_DIRECTORY``, the directory its address names. The Subscriber's own variables may use these and each other.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Mapping, Set
from functools import lru_cache

from sluice.blueprint.render.evaluate import KEPT_WORK, ValueTemplateError, Work
from sluice.blueprint.render.template import render, variables_of
from sluice.blueprint.schema.actions import with_templates
from sluice.errors import BlueprintError
from sluice.model.recipe import RenderedRecipe
from sluice.model.site import Site, Subscriber

PREDEFINED = {"NAME": "name", "PLATFORM": "platform", "WORKING_DIRECTORY": "working_directory", "LOCAL_DIRECTORY": "address"}
"""Variables that a blueprint must not define, and the setting of a Subscriber that each comes from."""

DESTINATION_MAX = 4096
"""Characters of a destination, like PATH_MAX."""
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def subscriber_variables(subscriber: Subscriber, work: Work | None = None) -> Mapping[str, str]:
    """Resolve every variable of a Subscriber, also the predefined ones.

    Args:
        work: As for ``render``.
    Raises:
        ValueTemplateError: Variables use each other in a circle, or one that isn't defined. Never after ``load_site``.
    """
    found = {
        "NAME": subscriber.name,
        "PLATFORM": subscriber.platform,
        "WORKING_DIRECTORY": str(subscriber.working_directory),
    }
    if subscriber.address.scheme == "local":
        found["LOCAL_DIRECTORY"] = subscriber.address.path
    own = {name: text for name, text in subscriber.variables.items() if name not in PREDEFINED}
    found |= own
    work = work or Work()
    for name in _in_order(frozenset(each for each in own.items() if "{{" in each[1])):
        found[name] = render(own[name], found, what=f"variable {name}", work=work)
        work.take(KEPT_WORK * len(found[name]))
    return found


@lru_cache(maxsize=64)
def _in_order(templates: frozenset[tuple[str, str]]) -> tuple[str, ...]:
    """Return the names of variables with ``{{``, each behind those that it uses: alike for most Subscribers. Raises ValueTemplateError."""
    uses = {name: variables_of(text) for name, text in sorted(templates)}
    if circle := find_circle(uses):
        raise ValueTemplateError(f"variables use each other in a circle: {' -> '.join(circle)}", "give one of them a plain value")
    return tuple(_without_circles(uses))


def find_circle(uses: Mapping[str, Set[str]]) -> list[str]:
    """Find variables that use each other in a circle: the first once more at the end; empty if there are none."""
    remaining = uses.keys() - set(_without_circles(uses))
    trail = dict.fromkeys([min(remaining)] if remaining else [])
    while trail:
        following = min(uses[next(reversed(trail))] & remaining)
        if following in trail:
            names = list(trail)
            return [*names[names.index(following) :], following]
        trail[following] = None
    return []


def _without_circles(uses: Mapping[str, Set[str]]) -> list[str]:
    """List the names that neither are in a circle nor use one that is, each behind those that it uses."""
    users: dict[str, list[str]] = {name: [] for name in uses}
    waits_for: dict[str, int] = {}
    for name, used in uses.items():
        inner = [each for each in used if each in users]
        waits_for[name] = len(inner)
        for each in inner:
            users[each].append(name)
    ready = [name for name, number in waits_for.items() if not number]
    for name in ready:  # grows while it is walked
        for user in users[name]:
            waits_for[user] -= 1
            if not waits_for[user]:
                ready.append(user)
    return ready


def rendered_destination(template: str, variables: Mapping[str, str], *, what: str, work: Work | None = None) -> str:
    """Render a destination: absolute, normalised and without ``..``; ValueTemplateError otherwise."""
    path = render(template, variables, what=what, work=work)
    if work is not None and "{{" in template:
        work.take(len(path))
    if not path.startswith("/"):
        raise ValueTemplateError(f"{what} is {path!r}, not an absolute path", "begin it with / or with a variable that does")
    is_plain = "/." not in path and "//" not in path and not path.endswith("/")
    if not is_plain and "/../" in f"{path}/":
        raise ValueTemplateError(f"{what} is {path!r}, which contains ..", "write the path without ..")
    if len(path) > DESTINATION_MAX or (not path.isprintable() and _CONTROL.search(path)):
        raise ValueTemplateError(f"{what} is too long or contains control characters", "write a plain path")
    return path if is_plain else "/" + posixpath.normpath(path).lstrip("/")  # normpath takes as long as all the rest


def recipe(site: Site, distribution: str, subscriber: str) -> RenderedRecipe:
    """Render what an order to one Subscriber contains of one Distribution.

    Args:
        site: From ``load_site``.
        distribution: Name of the Distribution.
        subscriber: Name of the Subscriber; no Channel needs to join it.
    Returns:
        Destinations and actions with the Subscriber's variables filled in; a destination keeps its last ``/``: see ``path_of``.
    Raises:
        NotFoundError: No such Distribution or Subscriber.
        BlueprintError: A value cannot be rendered for this Subscriber; names the variable and the Subscriber.
    Source: TED "Variables in destinations".
    """
    chosen = site.distribution(distribution)
    host = site.subscriber(subscriber)
    path = "variables"

    def filled(text: str) -> str:
        return render(text, variables, what=f"{path} of {distribution} for {subscriber}")

    try:
        variables = subscriber_variables(host)
        destinations = []
        for index, entry in enumerate(chosen.files):
            path = f"files[{index}].destination"
            rendered = rendered_destination(entry.destination, variables, what=f"{path} of {distribution} for {subscriber}")
            destinations.append(f"{rendered.rstrip('/')}/" if entry.destination.endswith("/") else rendered)
        path = "pre_actions"
        before = tuple(with_templates(action, filled) for action in chosen.pre_actions)
        path = "post_actions"
        after = tuple(with_templates(action, filled) for action in chosen.post_actions)
    except ValueTemplateError as e:
        origin = chosen.origins.get(path.partition("[")[0])
        file, _, line = origin.source.rpartition(":") if origin else ("", "", "")
        raise BlueprintError(
            e.what, file=file or distribution, line=int(line) if line.isdigit() else 0, path=path, remedy=e.remedy
        ) from None
    return RenderedRecipe(tuple(destinations), before, after, chosen.locked, host.min_free)

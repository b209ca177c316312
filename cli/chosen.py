"""Choose Subscribers on the command line, by names and by selectors; complete names of the site's objects in a shell (ADR 0030)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli.session import DEFAULT_SITE, site_directory
from sluice.errors import NotFoundError, SluiceError

if TYPE_CHECKING:
    from sluice.model.site import Site, Subscriber

SHOWN_MAX = 10
"""Subscribers that an error lists."""
_SELECTOR = re.compile(r"[=(\[]|\s(not\s+)?in\s|^not\s")
"""In a word that is a selector; no name has it."""


def chosen_subscribers(site: Site, words: Sequence[str]) -> list[Subscriber]:
    """Return the Subscribers that names and selectors choose, each once: a name anyone, a selector active ones.

    Raises:
        NotFoundError: A name or a selector chooses nobody; lists what there is.
    """
    found: dict[str, Subscriber] = {}
    for word in words:
        if _SELECTOR.search(word):
            matching = {each.name: each for each in matching_subscribers(site, word) if each.active}
            if not matching:
                raise NotFoundError(f"no active Subscriber matches {word}", remedy=_there_are(site))
            found |= matching
        elif "," in word:
            listed = ", ".join(f"'{each.strip()}'" for each in word.split(","))
            raise NotFoundError(f"no Subscriber is named {word!r}", remedy=f'name each by itself, or write "name in ({listed})"')
        else:
            found[word] = site.subscriber(word)
    return list(found.values())


def chosen_names(site: Site, words: Sequence[str]) -> tuple[str, ...]:
    """Return the names of ``chosen_subscribers``."""
    return tuple(each.name for each in chosen_subscribers(site, words))


def matching_subscribers(site: Site, selector: str) -> list[Subscriber]:
    """Return the Subscribers that a selector matches, in name order. Raises click.UsageError if it isn't one."""
    from sluice.blueprint.schema.selector import SelectorError, parse_selector, subscriber_facts

    try:
        parsed = parse_selector(selector)
    except SelectorError as error:
        raise click.UsageError(f"{selector}: {error}") from error
    every = [each for _, each in sorted(site.subscribers.items())]
    return [each for each in every if parsed.matches(subscriber_facts(each.name, each.platform, each.tags))]


def names_of(*kinds: str) -> Callable[[click.Context, click.Parameter, str], list[str]]:
    """Return a completion of the names of the site's objects.

    Args:
        kinds: Attributes of a Site, such as ``subscribers``.
    """

    def complete(ctx: click.Context, _param: click.Parameter, begun: str) -> list[str]:
        named = ctx.find_root().params.get("site") or DEFAULT_SITE
        with suppress(SluiceError, OSError):  # nothing is completed in a site with errors
            from sluice.blueprint import load_site

            site = load_site(Path(site_directory(named)))
            return sorted({name for kind in kinds for name in getattr(site, kind) if name.startswith(begun)})
        return []

    return complete


def _there_are(site: Site) -> str:
    """List the Subscribers with what selectors can ask about."""
    if not site.subscribers:
        return "the site has no Subscribers"
    shown = [_facts(each.name, each.platform, each.tags, each.active) for _, each in sorted(site.subscribers.items())]
    more = f", and {len(shown) - SHOWN_MAX} more (`sluice subscriber list`)" if len(shown) > SHOWN_MAX else ""
    return f"the site has {', '.join(shown[:SHOWN_MAX])}{more}"


def _facts(name: str, platform: str, tags: Mapping[str, str], active: bool) -> str:
    facts = ([] if active else ["inactive"]) + ([f"platform={platform}"] if platform else [])
    facts += [f"{tag}={text}" for tag, text in sorted(tags.items())]
    return f"{name} ({', '.join(facts)})" if facts else name


to_option = click.option(
    *("--to", "to"),
    metavar="SUBSCRIBER",
    multiple=True,
    shell_complete=names_of("subscribers"),
    help="Only to this Subscriber, or to those that a selector chooses; may be repeated.",
)

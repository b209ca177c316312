"""What every command shares: where the site is, how to print, and the options that several commands have.

A command asks the session for the site; only then is the blueprint package imported, so that ``--help`` stays fast.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from sluice.errors import NotFoundError

if TYPE_CHECKING:
    from sluice.model.site import Distribution, Distributor, Site
    from sluice.ports import Store

DEFAULT_SITE = "blueprints"
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Session:
    """One call of the command."""

    directory: Path
    """Of the site, absolute."""
    verbose: bool = False
    debug: bool = False
    _site: Site | None = None

    @property
    def site(self) -> Site:
        """The validated site, read once. Raises SiteError, NotFoundError."""
        if self._site is None:
            from sluice.blueprint import load_site

            if not self.directory.is_dir():
                raise NotFoundError(
                    f"there is no site directory {self.directory}",
                    remedy="name it with `sluice --site DIR` or SLUICE_SITE, or make one with `sluice init DIR`",
                )
            self._site = load_site(self.directory)
        return self._site

    def store(self, distribution: str) -> Store:
        """The store of the Distributor that owns a Distribution; reading it makes nothing."""
        from infra.workplace import store_of

        return store_of(self.owner(distribution)[1], self.site)

    def owner(self, distribution: str) -> tuple[Distribution, Distributor]:
        """A Distribution and who owns it."""
        found = self.site.distribution(distribution)
        return found, self.site.distributor(found.distributor)


session = click.make_pass_decorator(Session)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option("--dry-run", is_flag=True, help="Say what would be done and do nothing.")


def now() -> datetime:
    """The one reference time of a command."""
    return datetime.now(UTC)


def emit(data: Any) -> None:
    """Print JSON: keys in a stable order, times in UTC, one document."""
    click.echo(json.dumps(data, indent=2, ensure_ascii=False))


def utc(at: datetime | None) -> str | None:
    """A time in JSON: RFC 3339 in UTC with ``Z``."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def say(text: str) -> None:
    """A line about what goes on: to stderr, so that stdout holds results only."""
    click.echo(text, err=True)


def site_directory(given: str | None) -> Path:
    """``--site``, else SLUICE_SITE (both through click), else ``blueprints`` in the current directory."""
    return Path(given or DEFAULT_SITE).expanduser().absolute()


def no_repeats(values: tuple[str, ...]) -> tuple[str, ...]:
    """Names as given, each once."""
    return tuple(dict.fromkeys(values))


__all__ = ["Session", "dry_run_option", "emit", "json_option", "no_repeats", "now", "say", "session", "site_directory", "utc"]

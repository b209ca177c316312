"""Everything commands share: the site, the options that several have, and printing.

A command asks the session for the site; only then is the blueprint package imported, so that ``--help`` stays fast.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from cli.terminal import Line, write
from sluice.errors import NotFoundError

if TYPE_CHECKING:
    from sluice.errors import BlueprintError
    from sluice.model.site import Distribution, Distributor, Site
    from sluice.ports import Store
    from sluice.trust.targets import Target

DEFAULT_SITE = "blueprints"
"""In the current directory, without ``--site`` and SLUICE_SITE."""
_BEYOND_ASCII = re.compile(r"[^ -~\n]+")
_F = TypeVar("_F", bound=Callable[..., Any])


@dataclass
class Session:
    """One call of the command."""

    directory: Path
    """The site's, absolute."""
    verbose: bool = False
    debug: bool = False
    _site: Site | None = None
    _files: Sequence[tuple[Path, int, int]] | None = None

    def read_anew(self) -> None:
        """Read the site again if a file of it changed since the last time. Raises as ``site``, which then stays as it was."""
        from sluice.blueprint import load_site
        from sluice.blueprint.read.files import files_state

        self._check_directory()
        files = files_state(self.directory)
        if files != self._files:
            self._site = load_site(self.directory)
            self._files = files

    @property
    def site(self) -> Site:
        """Return the validated site, which is read once. Raises SiteError, NotFoundError."""
        if self._site is None:
            from sluice.blueprint import load_site

            self._check_directory()
            self._site = load_site(self.directory)
        return self._site

    def judged(self) -> tuple[Site, list[BlueprintError]]:
        """Return the site as far as it goes, and every error of it. Raises NotFoundError."""
        from sluice.blueprint.load import judged_site

        self._check_directory()
        return judged_site(self.directory)

    def _check_directory(self) -> None:
        if not self.directory.is_dir():
            raise NotFoundError(
                f"there is no site directory {self.directory}",
                remedy="name it with `sluice --site DIR` or SLUICE_SITE, or create one with `sluice init DIR`",
            )

    def store(self, distribution: str) -> Store:
        """Return the store of the Distributor that owns a Distribution; reading it creates nothing."""
        from infra.workplace import store_of

        return store_of(self.owner(distribution)[1], self.site)

    def owner(self, distribution: str) -> tuple[Distribution, Distributor]:
        """Return a Distribution and its Distributor."""
        found = self.site.distribution(distribution)
        return found, self.site.distributor(found.distributor)

    def has_store(self, distributor: str) -> bool:
        """Whether a Distributor's store is on this machine."""
        return (Path(self.site.distributor(distributor).working_directory) / "store").is_dir()

    def has_trust(self, distributor: str) -> bool:
        """Whether a Distributor's signed metadata is on this machine."""
        return (Path(self.site.distributor(distributor).working_directory) / "trust/repository").is_dir()

    def signed(self, distribution: str) -> Mapping[str, Target]:
        """Return the signed targets of a Distribution with their digests; none before its Distributor has a trust root."""
        from sluice.trust.publish import Publisher

        _, owner = self.owner(distribution)
        if not self.has_trust(owner.name):
            return {}
        return Publisher(Path(owner.working_directory), distributor=owner.name).listing(distribution)


session = click.make_pass_decorator(Session)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
dry_run_option = click.option(
    "--dry-run",
    is_flag=True,
    help="Say what would be done, and do nothing. A failure that is foretold has the exit code that it would have.",
)


def site_directory(named: str) -> Path:
    """Return a site's directory as it was named, absolute: links in it stay, so that a site stays the same when its link is switched.

    A relative one begins at the shell's own path of the current directory, in which links are kept too.
    """
    path = Path(named).expanduser()
    shell = Path(os.environ.get("PWD", ""))
    with suppress(OSError):
        if shell.is_absolute() and ".." not in path.parts and shell.samefile(os.curdir):
            return shell / path
        return path.absolute()
    return path  # the current directory was removed: below it there is no site


def now() -> datetime:
    """Return the one reference time of a command."""
    return datetime.now(UTC)


def out(found: str | Sequence[Line]) -> None:
    """Print a result to stdout: a text, or lines with their colours."""
    write(sys.stdout, [(found, "")] if isinstance(found, str) else found)


def emit(data: Any) -> None:
    """Print JSON."""
    out(json_text(data))


def json_text(data: Any) -> str:
    """Write JSON: keys in a stable order, times in UTC, one document. Characters that aren't printable are escaped."""
    text = json.dumps(data, indent=2, ensure_ascii=False)
    return _BEYOND_ASCII.sub(lambda found: "".join(each if each.isprintable() else json.dumps(each)[1:-1] for each in found[0]), text)


def utc(at: datetime | None) -> str | None:
    """Write a time for JSON: RFC 3339 in UTC with ``Z``."""
    return None if at is None else at.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def say(text: str) -> None:
    """Print a line of progress to stderr, so that stdout holds results only."""
    write(sys.stderr, [(text, "")])


def distributions_of(site: Site, name: str, *, is_channel: bool = False) -> frozenset[str]:
    """Resolve a name to Distributions: the one of that name, else those of the Channel of that name.

    Raises:
        NotFoundError: The site has no such name.
    """
    if name in site.distributions and not is_channel:
        return frozenset({name})
    if name not in site.channels:
        known = ", ".join(sorted({*site.distributions, *site.channels})) or "none"
        raise NotFoundError(f"no Distribution or Channel is named {name!r}", remedy=f"the site has: {known}")
    return frozenset(d.name for d in site.distributions_of_channel(name))

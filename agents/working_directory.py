"""The working directory of a Subscriber (docs/formats.md section 6): its paths, and whether it may be used at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sluice.errors import NotFoundError, TamperedError, TrustError
from sluice.formats.canonical import Fields, parse_canonical
from sluice.model.names import name_is_valid
from sluice.subscriber.held.directory import DistributionDirectory

IDENTITY_MAX = 4096
"""Bytes of subscriber.json."""


class WorkingDirectory:
    """An existing working directory that nobody else can write in.

    Raises:
        NotFoundError: There is none.
        TrustError: It belongs to another account, or others may write in it: its files can't be believed.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(os.path.realpath(path))
        try:
            status = os.stat(self.path)
        except OSError as error:
            raise NotFoundError(
                f"the working directory {path}: {error.strerror}", remedy="run `sluice subscriber bootstrap NAME`"
            ) from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid():
            raise TrustError(f"the working directory {path} doesn't belong to the agent's account", remedy="run the agent as its owner")
        if status.st_mode & 0o022:
            raise TrustError(
                f"the working directory {path} can be written by others", remedy=f"look at the files in it, then: chmod 700 {path}"
            )
        for parent in self.path.parents:
            found = os.stat(parent)
            if found.st_uid not in (0, os.geteuid()):
                raise TrustError(
                    f"the working directory {path} lies in {parent}, whose owner can give its name to another",
                    remedy="choose a working_directory below directories of root or of the agent's account",
                )
            mode = found.st_mode
            if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
                raise TrustError(
                    f"the working directory {path} lies in {parent}, where everybody can give its name to another",
                    remedy=f"look at the files in it, then: chmod o-w {parent}",
                )

    def subscriber(self) -> str:
        """This Subscriber's name. Raises NotFoundError, TamperedError."""
        path = self.path / "identity" / "subscriber.json"
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFoundError(f"{path} is missing", remedy="run `sluice subscriber bootstrap NAME`") from None
        fields = Fields(parse_canonical(data, limit=IDENTITY_MAX, what=str(path)), what=str(path))
        fields.constant("version", 1)
        name = fields.text("name")
        fields.done()
        if not name_is_valid(name):
            raise TamperedError(f"{path}: {name!r:.80} is no name")
        return name

    @property
    def receipt_key(self) -> Path:
        """The private key that signs receipts."""
        return self.path / "identity" / "receipt.pem"

    def distributor(self, name: str) -> Path:
        """The directory of one Distributor; it may be missing. Raises TamperedError if that is no name."""
        if not name_is_valid(name):
            raise TamperedError(f"{name!r:.80} is no name of a Distributor")
        return self.path / "distributors" / name

    def held(self, distributor: str, distribution: str) -> DistributionDirectory:
        """The directory of one Distribution of a Distributor. Raises TamperedError if that is no name."""
        if not name_is_valid(distribution):
            raise TamperedError(f"{distribution!r:.80} is no name of a Distribution")
        return DistributionDirectory(self.distributor(distributor) / "distributions" / distribution)

    def distributors(self) -> list[str]:
        """Names of the Distributors that have a directory."""
        return _names(self.path / "distributors")

    def distributions(self, distributor: str) -> Iterator[DistributionDirectory]:
        """Yield the Distributions of one Distributor, in name order."""
        for name in _names(self.distributor(distributor) / "distributions"):
            yield self.held(distributor, name)


def _names(directory: Path) -> list[str]:
    try:
        return sorted(name for name in os.listdir(directory) if name_is_valid(name))
    except FileNotFoundError:
        return []

"""Read a site's id: the file by which a site stays itself wherever its directory is copied (docs/formats.md section 10)."""

from __future__ import annotations

import re
from pathlib import Path

from sluice.errors import BlueprintError

SITE_ID = "site-id"
"""Name of the file, in the site's directory."""
_ID = re.compile(r"[0-9a-f]{16}([0-9a-f]{16})?\n?")


def read_site_id(directory: Path, errors: list[BlueprintError]) -> str:
    """Return the id, empty if the site has no such file; append an error if it holds anything else."""
    file = directory / SITE_ID
    try:
        with file.open(encoding="utf-8") as opened:
            found = opened.read(64)
    except FileNotFoundError:
        return ""
    except (OSError, UnicodeDecodeError) as error:
        found = str(error)
    if _ID.fullmatch(found):
        return found.rstrip("\n")
    remedy = "put back the one that the site had (`git checkout site-id`), or remove the file: then the site is known by its Distributors"
    errors.append(BlueprintError("is no site id of 16 or 32 hex digits", file=str(file), line=1, remedy=remedy))
    return ""

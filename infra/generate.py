"""``python -m infra.generate``: write the generated files; ``--check`` only says whether they are up to date.

They are ``prefect.yaml`` from the example site in blueprints/, ``docs/blueprint.schema.json`` from the blueprint's own description of
itself, and the schema of Prefect's database from Prefect's migrations.
"""

from __future__ import annotations

import argparse
import difflib
import sys
from pathlib import Path

from infra.orchestrator.project_file import project_file
from infra.orchestrator.server_schema import SCHEMA_FILE, migrated_schema
from sluice.blueprint import load_site
from sluice.blueprint.schema.json_schema import schema_text
from sluice.distributor.plan.deployments import deployments

PROJECT = Path(__file__).resolve().parent.parent
DIFF_LINES = 20
"""Lines of each file's difference that ``--check`` shows."""


def generated(project: Path) -> dict[Path, str]:
    """Return the text of every generated file, by path."""
    return {
        project / "prefect.yaml": project_file(deployments(load_site(project / "blueprints"))),
        project / "docs" / "blueprint.schema.json": schema_text(),
        project / SCHEMA_FILE.relative_to(PROJECT): migrated_schema(),
    }


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m infra.generate", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 if a file isn't up to date")
    check = parser.parse_args(arguments).check
    stale = 0
    for path, wanted in generated(PROJECT).items():
        found = path.read_text(encoding="utf-8") if path.exists() else ""
        if found == wanted:
            continue
        stale += 1
        name = str(path.relative_to(PROJECT))
        if check:
            difference = list(difflib.unified_diff(found.splitlines(), wanted.splitlines(), name, f"{name} (made now)", n=1, lineterm=""))
            sys.stdout.write("\n".join(difference[:DIFF_LINES]) + f"\n{name} isn't up to date: run python -m infra.generate\n")
        else:
            path.write_text(wanted, encoding="utf-8")
            sys.stdout.write(f"wrote {name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())

"""Examples of every command, for its ``--help``. Names are those of the site that ``sluice init`` writes."""

from __future__ import annotations

from collections.abc import Mapping

import click

EXAMPLES: Mapping[str, tuple[str, ...]] = {
    "init": ("sluice init site",),
    "validate": ("sluice validate", "sluice validate site", "sluice --site site validate --json"),
    "plan": ("sluice plan", "sluice plan --exit-code --json", "sluice plan --save plan.json --markdown plan.md"),
    "apply": ("sluice apply --dry-run", "sluice apply", "sluice apply --yes"),
    "up": ("sluice up", "sluice up --port 4300"),
    "build": ("sluice build greeting", "sluice build greeting --rebaseline --dry-run"),
    "sign": ("sluice sign greeting",),
    "send": (
        "sluice send greeting",
        "sluice send greeting --to office-1 --to office-2 --dry-run",
        "sluice send greetings --to 'site == \"office\"'",
    ),
    "extract": (
        "sluice extract office-1",
        "sluice extract office-1 office-2 --distribution greeting",
        "sluice extract 'site == \"office\"' --dry-run",
    ),
    "distribute": (
        "sluice distribute greeting",
        "sluice distribute greeting --to office-1 --dry-run",
        "sluice distribute greeting --to 'site == \"office\"' --verify",
    ),
    "verify": ("sluice verify", "sluice verify office-1 --distribution greeting"),
    "refresh": ("sluice refresh", "sluice refresh hq --dry-run"),
    "cancel": ("sluice cancel greeting", "sluice cancel greetings --dry-run"),
    "release": ("sluice release greeting --dry-run", "sluice release greeting --to office-1"),
    "status": ("sluice status", "sluice status greeting --json", "sluice status --subscriber 'site == \"office\"'"),
    "why": ("sluice why office-1 greeting",),
    "show": ("sluice show office-1", "sluice show distribution greeting", "sluice show schedules"),
    "revisions": ("sluice revisions greeting",),
    "ted show": ("sluice ted show distfile.ted --verify",),
    "store verify": ("sluice store verify", "sluice store verify greeting --repair"),
    "doctor": ("sluice doctor", "sluice doctor --no-subscribers"),
    "ledger copy": ("sluice ledger copy /var/lib/sluice/hq/ledger.db postgresql://sluice@127.0.0.1/sluice",),
    "trust init": ("sluice trust init hq",),
    "trust push": ("sluice trust push hq --to office-1",),
    "trust export": ("sluice trust export hq root.json",),
    "subscriber bootstrap": (
        "sluice subscriber bootstrap --all",
        "sluice subscriber bootstrap office-1 office-2 --dry-run",
        "sluice subscriber bootstrap 'site == \"office\"'",
    ),
    "subscriber check": ("sluice subscriber check --all", "sluice subscriber check 'site == \"office\"' --json"),
    "subscriber remove": ("sluice subscriber remove office-2 --dry-run", "sluice subscriber remove office-2 --yes"),
    "subscriber list": ("sluice subscriber list", "sluice subscriber list --where 'role == \"web\"'"),
    "agent build": ("sluice agent build", "sluice agent build --python 3.12 --arch aarch64"),
}


def add_examples(group: click.Group, *before: str) -> None:
    """Give each command of a group its examples, below its options."""
    for name, command in group.commands.items():
        words = (*before, name)
        if isinstance(command, click.Group):
            add_examples(command, *words)
        elif lines := EXAMPLES.get(" ".join(words)):
            command.epilog = "\n".join(["\b", "Examples:", *(f"  {line}" for line in lines)])

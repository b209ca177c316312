"""Each import contract of pyproject.toml fails on what it forbids, and on nothing else.

A tree of empty rooms is linted with the project's own contracts after one forbidden import each was written into it.
"""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
CONTRACTS = {
    contract["id"]: contract["name"]
    for contract in tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
}
ROOMS = [
    *("flows", "tasks", "sluice", "infra", "agents", "cli"),
    *(
        "sluice/model",
        "sluice/rules",
        "sluice/formats",
        "sluice/delta",
        "sluice/trust",
        "sluice/ports",
        "sluice/sender",
        "sluice/distributor",
        "sluice/distributor/build",
        "sluice/subscriber",
        "sluice/blueprint",
        "sluice/formats/manifest",
        "sluice/formats/ted",
    ),
    *("infra/filesystem", "infra/transports", "infra/ledger"),
]
MODULES = {
    "flows/build.py": "import tasks.build, prefect",
    "tasks/build.py": "import infra.ledger.events, sluice.distributor.build.build, prefect",
    "infra/ledger/events.py": "import sqlalchemy, sluice.ports",
    "infra/ledger/postgres.py": "import psycopg, sqlalchemy",
    "infra/mail.py": "import smtplib, sluice.ports",
    "infra/filesystem/local.py": "import os, sluice.ports",
    "infra/filesystem/smb.py": "import smbclient, sluice.ports",
    "infra/transports/ssh.py": "import paramiko, socket, sluice.ports",
    "infra/transports/smb.py": "import smbprotocol.connection, sluice.ports",
    "sluice/errors.py": "",
    "sluice/durable.py": "import os, sluice.errors",
    "sluice/model/site.py": "import sluice.errors",
    "sluice/rules/due.py": "import sluice.model.site",
    "sluice/formats/manifest/document.py": "import sluice.rules.due, blake3",
    "sluice/delta/apply.py": "import hdiffpatch, sluice.formats.manifest.document",
    "sluice/formats/manifest/delta.py": "import sluice.formats.manifest.document",
    "sluice/formats/ted/file.py": "import sluice.model.site",
    "sluice/trust/keys.py": "",
    "sluice/trust/publish.py": "import sluice.trust.keys",
    "sluice/trust/orders.py": "import sluice.durable, sluice.formats.manifest.document, tuf.api.metadata",
    "sluice/ports/ledger.py": "import sluice.model.site, collections.abc",
    "sluice/sender/conversation.py": "import sluice.ports, sluice.trust.orders",
    "sluice/distributor/build/build.py": "import sluice.sender.conversation, sluice.trust.orders",
    "sluice/subscriber/complete.py": "import sluice.ports, sluice.trust.orders, sluice.delta.apply",
    "sluice/blueprint/load.py": "import yaml, jinja2, pydantic, sluice.rules.due",
    "agents/main.py": "import sluice.subscriber.complete, infra.filesystem.local, infra.transports.ssh, blake3",
    "cli/main.py": "import flows.build, agents.main, sluice.blueprint.load, click",
}


@pytest.fixture
def house(tmp_path: Path) -> Path:
    """The rooms with one module each, which import what they may."""
    for room in ROOMS:
        (tmp_path / room).mkdir(parents=True)
        (tmp_path / room / "__init__.py").touch()
    for module, text in MODULES.items():
        (tmp_path / module).write_text(text + "\n", encoding="utf-8")
    shutil.copy(PROJECT / "pyproject.toml", tmp_path)
    (tmp_path / "tests/house").mkdir(parents=True)
    shutil.copy(PROJECT / "tests/house/closure_contract.py", tmp_path / "tests/house")
    return tmp_path


def broken_contracts(house: Path) -> set[str]:
    """Ids of the contracts that the project's own lint command reports as broken."""
    lint = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache", "--no-logo"],
        cwd=house,
        capture_output=True,
        text=True,
        check=False,
        env={"COLUMNS": "300"},
    )
    verdicts = re.findall(r"^(.+) (KEPT|BROKEN)", lint.stdout, flags=re.MULTILINE)
    assert {name for name, _ in verdicts} == set(CONTRACTS.values()), lint.stdout + lint.stderr
    broken = {id_ for id_, name in CONTRACTS.items() if (name, "BROKEN") in verdicts}
    assert bool(lint.returncode) == bool(broken)
    return broken


def test_rooms_that_import_what_they_may_keep_every_contract(house: Path) -> None:
    assert broken_contracts(house) == set()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "imported", "contracts"),
    [
        ("tasks/build.py", "flows.build", {"rooms"}),
        ("infra/ledger/events.py", "tasks.build", {"rooms"}),
        ("sluice/rules/due.py", "infra.ledger.events", {"rooms", "sluice-layers", "sluice-blueprint", "sluice-offline"}),
        ("tasks/build.py", "agents.main", {"agents-apart"}),
        ("agents/main.py", "infra.filesystem.smb", {"agent-closure"}),
        ("agents/main.py", "infra.ledger", {"agent-closure"}),
        ("agents/main.py", "httpx", {"agent-closure"}),
        ("infra/transports/ssh.py", "infra.transports.smb", {"agent-closure"}),
        ("infra/__init__.py", "sqlalchemy", {"agent-closure"}),
        ("sluice/subscriber/complete.py", "sqlalchemy", {"agent-closure", "agent-light", "sluice-offline"}),
        ("agents/main.py", "yaml", {"agent-closure", "agent-light", "blueprint-libraries"}),
        ("agents/main.py", "sluice.blueprint.load", {"agent-closure", "agent-light", "agent-sides"}),
        ("sluice/errors.py", "prefect", {"agent-closure", "agent-light", "sluice-ports", "sluice-offline"}),
        ("agents/main.py", "sluice.distributor.build.build", {"agent-sides"}),
        ("agents/main.py", "sluice.trust.publish", {"agent-sides"}),
        ("sluice/formats/manifest/document.py", "sluice.formats.ted.file", {"sluice-formats"}),
        ("sluice/formats/ted/file.py", "sluice.formats.manifest.document", {"sluice-formats"}),
        ("sluice/model/site.py", "sluice.rules.due", {"sluice-layers", "sluice-ports"}),
        ("sluice/rules/due.py", "sluice.formats.manifest.document", {"sluice-layers", "sluice-blueprint"}),
        ("sluice/rules/due.py", "sluice.durable", {"sluice-layers", "sluice-blueprint"}),
        ("sluice/trust/orders.py", "sluice.ports", {"sluice-layers"}),
        ("sluice/distributor/build/build.py", "sluice.blueprint.load", {"sluice-sides"}),
        ("sluice/distributor/build/build.py", "sluice.subscriber.complete", {"sluice-sides"}),
        ("sluice/subscriber/complete.py", "sluice.sender.conversation", {"sluice-layers"}),
        ("sluice/subscriber/complete.py", "sluice.distributor.build.build", {"sluice-layers", "sluice-sides"}),
        ("sluice/sender/conversation.py", "sluice.distributor.build.build", {"sluice-layers", "no-circles"}),
        ("sluice/sender/conversation.py", "sluice.trust.publish", {"sluice-sender"}),
        ("sluice/sender/conversation.py", "sluice.ports.ledger", {"sluice-sender"}),
        ("sluice/formats/manifest/document.py", "sluice.formats.manifest.delta", {"no-circles"}),
        ("sluice/ports/ledger.py", "sluice.rules.due", {"sluice-ports"}),
        ("sluice/ports/ledger.py", "blake3", {"sluice-ports"}),
        ("sluice/blueprint/load.py", "sluice.formats.manifest.document", {"sluice-blueprint"}),
        ("sluice/blueprint/load.py", "sluice.ports", {"sluice-blueprint"}),
        ("sluice/somewhere.py", "os", {"sluice-layers"}),
        ("sluice/distributor/build/build.py", "socket", {"sluice-offline"}),
        ("cli/main.py", "paramiko", {"paramiko"}),
        ("cli/tables.py", "rich", {"rich"}),
        ("infra/ledger/events.py", "psycopg", {"psycopg"}),
        ("infra/ledger/events.py", "smtplib", {"smtplib"}),
        ("sluice/formats/manifest/document.py", "hdiffpatch", {"hdiffpatch"}),
        ("infra/filesystem/local.py", "smbclient", {"smbprotocol", "agent-closure"}),
        ("flows/build.py", "pydantic", {"blueprint-libraries"}),
        ("infra/ledger/events.py", "yaml", {"blueprint-libraries"}),
    ],
)
def test_a_forbidden_import_breaks_the_contracts_that_forbid_it(house: Path, module: str, imported: str, contracts: set[str]) -> None:
    with (house / module).open("a", encoding="utf-8") as file:
        # Late on purpose: an import inside a function counts as much.
        file.write(f"\ndef late() -> None:\n    import {imported}\n")

    broken = broken_contracts(house)

    # A sluice module is in the closure of whatever imports it; `contracts` are those that the import itself breaks.
    assert contracts <= broken
    assert broken - contracts <= {"agent-closure", "agent-light", "agent-sides", "no-circles"}


def test_every_contract_has_an_import_that_breaks_it() -> None:
    mark = next(each for each in test_a_forbidden_import_breaks_the_contracts_that_forbid_it.pytestmark if each.name == "parametrize")
    assert set.union(*(contracts for _, _, contracts in mark.args[1])) == set(CONTRACTS)

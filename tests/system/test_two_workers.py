"""Prefect's server and the ledger on a real PostgreSQL, two real workers on one pool; one is killed in mid-send, with its flow processes.

The other's runs wait for the dead one's leases, take its places over, and install everything.
"""

import asyncio
import os
import random
import signal
import stat
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import psutil
import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.deployments import arun_deployment

from agents.init import init, trust
from infra.ledger.sql import open_ledger
from infra.orchestrator import embedded
from infra.orchestrator.children import Child, end, start_child
from infra.orchestrator.environment import prefect_settings, worker_environment
from infra.workplace import LEASE_VARIABLE, LEDGER_VARIABLE, open_workplace
from sluice.distributor.build.record import build_recorded, sign_recorded
from sluice.model.event import EventKind, RecordedEvent
from sluice.model.known import LedgerSnapshot
from sluice.model.ticket import Phase
from tests.flows.applied import apply
from tests.system import between
from tests.system.lab import PATIENCE, described, until
from tests.system.postgres import Cluster

pytestmark = [
    pytest.mark.timeout(600),
    # Prefect's client leaves its connections to the garbage collector when a loop ends; nothing of ours does.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning", "ignore::ResourceWarning"),
]
PROJECT = Path(__file__).parents[2]
HOSTS = ("helsinki", "oslo")
ZONES = ("north", "south")
BLOB = 3 << 20
"""Bytes of one Distribution: random, so that it travels whole."""
LEASE = "10"
"""Seconds that the second worker's runs wait for the first one's leases, instead of 30."""
SLOWLY = 300.0
"""Seconds for workers and flow processes to start on a busy machine, and for a lease to run out."""


@dataclass
class Stand:
    """A site, its Prefect server and its ledger. What is started here is ended by pid."""

    directory: Path
    ledger_url: str
    environment: dict[str, str]
    api_url: str
    children: list[Child]

    def worker(self, name: str) -> Child:
        """One more worker of the Distributor's pool for sends: at most one run for each Distribution."""
        command = [sys.executable, "-m", "prefect", "worker", "start", "--pool", "hq.send", "--type", "process", "--name", name]
        command += ["--limit", str(len(ZONES))]
        environment = self.environment | {LEASE_VARIABLE: LEASE}
        self.children.append(start_child(name, command, environment, self.directory / f"{name}.log"))
        return self.children[-1]

    def start_sends(self) -> list[FlowRun]:
        """A run for each Channel, for whichever worker has room."""

        async def start() -> list[FlowRun]:
            return [await arun_deployment(f"send/{zone}", timeout=0, as_subflow=False) for zone in ZONES]

        with prefect_settings(self.api_url):
            return asyncio.run(start())

    def states(self, runs: list[FlowRun]) -> list[str]:
        """What Prefect shows of runs."""

        async def read() -> list[FlowRun]:
            async with get_client() as client:
                return [await client.read_flow_run(run.id) for run in runs]

        with prefect_settings(self.api_url):
            return [run.state.type.value if run.state else "" for run in asyncio.run(read())]

    def snapshot(self) -> LedgerSnapshot:
        """The ledger as it stands."""
        with closing(open_ledger(self.ledger_url)) as ledger:
            return ledger.snapshot()

    def events(self) -> list[RecordedEvent]:
        """All of the ledger, oldest first."""
        with closing(open_ledger(self.ledger_url)) as ledger:
            return list(ledger.events(limit=100_000))

    def launcher(self, host: str) -> Path:
        return self.directory / "site" / "hosts" / host / "sluice" / "agent" / "sluice-agent"

    def logs(self) -> str:
        """What the workers and their runs said."""
        return "\n".join(path.read_text(errors="replace") for path in self.directory.glob("worker-*.log"))


def write_site(site: Path) -> None:
    rng = random.Random(7)
    documents = [f"kind: Distributor\nname: hq\nworking_directory: {site}/../hq\nrefresh: never\n"]
    for host in HOSTS:
        place = site / "hosts" / host
        documents.append(
            f"kind: Subscriber\nname: {host}\naddress: local:{place}\nworking_directory: {place}/sluice\nvariables: {{DEST: {place}}}\n"
        )
    for zone in ZONES:
        source = site.parent / "sources" / zone
        source.mkdir(parents=True)
        (source / "blob").write_bytes(rng.randbytes(BLOB))
        (source / "note").write_text(zone)
        documents.append(f"kind: Channel\nname: {zone}\nsend: never\nsubscribers: [{', '.join(HOSTS)}]\n")
        documents.append(
            f"kind: Distribution\nname: {zone}\ndistributor: hq\ntype: file\nchannels: [{zone}]\nbuild: never\nextract: immediately\n"
            f"files: [{{source: {source}, destination: '{{{{ DEST }}}}/{zone}'}}]\n"
        )
    site.mkdir()
    (site / "site.yaml").write_text("---\n".join(documents))


def prepare(site: Path) -> None:
    """Keys, agents that trust them, and one signed revision of each Distribution."""
    with open_workplace(site, "hq") as work:
        work.publisher.ensure_keys(datetime.now(UTC))
        for host in HOSTS:
            directory = site / "hosts" / host / "sluice"
            launcher = directory / "agent" / "sluice-agent"
            launcher.parent.mkdir(parents=True)
            launcher.write_text(f'#!/bin/sh\ncd {PROJECT} && exec {sys.executable} -m agents.main "$@"\n')
            launcher.chmod(stat.S_IRWXU)
            directory.chmod(stat.S_IRWXU)
            work.publisher.keep_subscriber_key(host, init(directory, host))
            trust(directory, "hq", work.publisher.root())
        for zone in ZONES:
            build_recorded(work, zone)
        sign_recorded(work, ZONES)


@pytest.fixture
def stand(postgres: Cluster, tmp_path: Path) -> Iterator[Stand]:
    site, state = tmp_path / "site", tmp_path / "state"
    write_site(site)
    for directory in (state / "logs", state / "tmp"):
        directory.mkdir(parents=True)
    ledger, prefect = postgres.database(), postgres.database()
    passwords = tmp_path / "pgpass"
    passwords.write_text(f"127.0.0.1:{postgres.port}:{ledger}:*:{postgres.password}\n")
    passwords.chmod(0o600)
    children: list[Child] = []
    with ExitStack() as held:
        held.callback(lambda: [postgres.drop(name) for name in (ledger, prefect)])
        held.callback(end, children)
        patch = held.enter_context(pytest.MonkeyPatch.context())
        # As production has it: the URL holds no password.
        patch.setenv(LEDGER_VARIABLE, postgres.url(ledger, password=None))
        patch.setenv("PGPASSFILE", str(passwords))
        database = postgres.url(prefect, scheme="postgresql+asyncpg")
        address = embedded._start_server(state, embedded._listening(0), children, PREFECT_API_DATABASE_CONNECTION_URL=database)
        embedded._await_answer(address, children)
        prepare(site)
        with open_workplace(site, "hq") as work, prefect_settings(address.api_url):
            asyncio.run(apply(work.site))
        environment = worker_environment(state, address.api_url, site)
        yield Stand(tmp_path, os.environ[LEDGER_VARIABLE], environment, address.api_url, children)


def kill_with_its_flows(worker: Child) -> None:
    """Without a chance to tidy up. Agents are on other machines: they only see the line end."""
    processes = psutil.Process(worker.process.pid).children(recursive=True)
    flows = [each for each in processes if "prefect" in " ".join(each.cmdline())]
    assert len(flows) >= len(ZONES)
    for process in (*flows, worker.process):
        with suppress(psutil.NoSuchProcess):
            process.send_signal(signal.SIGKILL)
    worker.process.wait(PATIENCE)


def occurred(events: list[RecordedEvent], kind: EventKind) -> dict[tuple[str, str], list[RecordedEvent]]:
    """Events of a kind by pair."""
    found: dict[tuple[str, str], list[RecordedEvent]] = {}
    for each in events:
        if each.event.kind is kind:
            found.setdefault((each.event.subscriber, each.event.distribution), []).append(each)
    return found


def test_where_a_worker_dies_in_mid_send_the_other_takes_over_and_all_is_installed_once(stand: Stand, postgres: Cluster) -> None:
    hold = stand.directory / "hold"
    hold.touch()
    between.install(stand.launcher("oslo"), hold=str(hold), hold_at=1 << 20)
    first = stand.worker("worker-1")
    dying = stand.start_sends()
    oslo = {("oslo", zone) for zone in ZONES}

    def in_mid_send() -> bool:
        running = {(t.subscriber, t.distribution) for t in stand.snapshot().tickets if t.phase is Phase.RUNNING}
        return running == oslo and set(occurred(stand.events(), EventKind.INSTALLED)) == {("helsinki", zone) for zone in ZONES}

    until(in_mid_send, "the first worker sends to oslo, and helsinki has everything", seconds=SLOWLY)
    stand.worker("worker-2")
    heirs = stand.start_sends()  # the first worker has no room for them
    kill_with_its_flows(first)
    hold.unlink()
    until(lambda: set(stand.states(heirs)) == {"COMPLETED"}, "the second worker's runs are done", seconds=SLOWLY)

    for host in HOSTS:
        for zone in ZONES:
            assert described(stand.directory / "site" / "hosts" / host / zone) == described(stand.directory / "sources" / zone)
    events = stand.events()
    pairs = {(host, zone) for host in HOSTS for zone in ZONES}
    sent, installed = occurred(events, EventKind.SENT), occurred(events, EventKind.INSTALLED)
    assert {pair: len(found) for pair, found in sent.items()} == dict.fromkeys(pairs, 1)
    assert {pair: len(found) for pair, found in installed.items()} == dict.fromkeys(pairs, 1)
    expired = occurred(events, EventKind.LEASE_EXPIRED)
    assert {pair: [each.event.flow_run for each in found] for pair, found in expired.items()} == {
        ("oslo", zone): [str(run.id)] for zone, run in zip(ZONES, dying, strict=True)
    }
    for zone, heir in zip(ZONES, heirs, strict=True):
        begun = [each for each in occurred(events, EventKind.SEND_STARTED)["oslo", zone] if each.event.flow_run == str(heir.id)]
        assert begun[0].number > expired["oslo", zone][0].number, "never two at once at a pair"
        assert sent["oslo", zone][0].event.flow_run == str(heir.id)
    assert stand.snapshot().tickets == ()
    with closing(open_ledger(stand.ledger_url)) as ledger:
        assert [ledger.receipt("hq", host, len(ZONES)) is not None for host in HOSTS] == [True, True]
        assert [ledger.receipt("hq", host, len(ZONES) + 1) for host in HOSTS] == [None, None]
    assert_prefect_knows_no_password(stand, postgres)


def assert_prefect_knows_no_password(stand: Stand, postgres: Cluster) -> None:
    database = f"test_{int(stand.ledger_url.rpartition('_')[2]) + 1}"
    tables = postgres.execute("SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace", database)
    assert len(tables) > 20, "Prefect's tables are in PostgreSQL"
    for (table,) in tables:
        rows = postgres.execute(f"SELECT count(*) FROM public.\"{table}\" AS row WHERE row::text LIKE '%{postgres.password}%'", database)
        assert rows == [(0,)], table
    assert postgres.password not in stand.logs()

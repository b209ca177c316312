"""An apply that a signal ends half-way ends cleanly, and the next makes the rest: against a real Prefect server."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from sluice.blueprint import load_site
from tests.flows.applied import apply
from tests.flows.test_apply import clean_server

__all__ = ["clean_server"]

SIGNALLED = """
import asyncio, signal, sys
from cli.main import main, run
from infra.orchestrator import apply

number, directory = int(sys.argv[1]), sys.argv[2]
written, carry_out = [], apply._carry_out

async def signalled(*arguments):
    await carry_out(*arguments)
    written.append(arguments[2].name)
    if len(written) == 3:
        print("written:", *written)
        # Within a callback of the loop, which swallows most exceptions.
        asyncio.get_running_loop().call_soon(lambda: signal.raise_signal(number))
        await asyncio.sleep(0)

apply._carry_out = signalled
assert run(["init", directory]) == 0
sys.argv = ["sluice", "--site", directory, "apply", "--yes"]
main()
"""


@pytest.mark.usefixtures("clean_server")
@pytest.mark.parametrize(("number", "said"), [(signal.SIGINT, "interrupted"), (signal.SIGTERM, "terminated")])
def test_the_next_apply_makes_what_a_signal_left_over(number: signal.Signals, said: str, tmp_path: Path) -> None:
    directory = tmp_path / "site"
    command = [sys.executable, "-W", "ignore", "-c", SIGNALLED, str(int(number)), str(directory)]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr.strip().splitlines()[-1]) == (128 + number, f"sluice: {said}; every step may be repeated")
    assert "Traceback" not in ended.stderr
    written = ended.stdout.partition("written: ")[2].splitlines()[0].split()
    site = load_site(directory)
    made = [change.name for change in asyncio.run(apply(site)).changes]
    assert (len(written), set(made) & set(written)) == (3, set())
    assert made
    assert not asyncio.run(apply(site)).changes

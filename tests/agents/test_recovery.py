"""What one Distribution's damage means for the others: nothing."""

from __future__ import annotations

from pathlib import Path

from agents.run import recover_all
from agents.working_directory import WorkingDirectory
from sluice.errors import StoreError
from tests.agents.workbench import Workbench


def test_what_cannot_be_recovered_is_said_and_the_agent_goes_on(tmp_path: Path) -> None:
    bench = Workbench(tmp_path)
    for name in ("alpha", "zulu"):
        (bench.work / "distributors/hq/distributions" / name / "journal").mkdir(parents=True)
    # A file where a directory of ours must be: no SluiceError, as with a full or failing disk.
    (bench.work / "distributors/hq/distributions/alpha/receiving").write_text("x")

    failed = recover_all(WorkingDirectory(bench.work))

    assert [type(each) for each in failed] == [StoreError]
    assert "hq/alpha" in failed[0].message
    assert not (bench.work / "distributors/hq/distributions/zulu/journal").exists()
    conversation = bench.connect()
    conversation.close()

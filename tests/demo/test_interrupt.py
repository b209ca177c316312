"""The demo can be interrupted however it was started."""

import signal
import subprocess
import sys

import pytest

CODE = """
import signal, sys
from pathlib import Path
import demo.__main__ as main

class Waiting:
    def __init__(self, *_, **__): pass
    def run(self):
        print("waits", flush=True)
        signal.pause()

main.DIRECTORY, main.Demo = Path(sys.argv[1]), Waiting
sys.exit(main.main())
"""


@pytest.mark.slow
def test_a_demo_in_a_scripts_background_obeys_sigint(tmp_path: object) -> None:
    # What a shell without job control does to what it starts with `&`.
    ignoring = f'trap \'\' INT; exec {sys.executable} -c "$0" "$1"'
    with subprocess.Popen(["/bin/sh", "-c", ignoring, CODE, str(tmp_path)], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"waits\n"
        process.send_signal(signal.SIGINT)
        try:
            _, said = process.communicate(timeout=60)
        finally:
            process.kill()
    assert (process.returncode, said) == (130, b"\nInterrupted.\n")

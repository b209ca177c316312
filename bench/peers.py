"""Run the peers: each as a user types it, whole process, followed by ``sync -f`` within its time, since none is durable."""

from __future__ import annotations

import json
import shlex
import shutil
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.ground import sync
from bench.lab import Lab
from bench.processes import Ended, run

ANSIBLE = "ansible synchronize"
_AES = ("-o", "Ciphers=aes128-gcm@openssh.com")
"""The cipher that our own sender prefers; OpenSSH's choice is ChaCha20."""


def commands(lab: Lab, source: Path, destination: Path) -> Mapping[str, Sequence[str]]:
    """Return the command lines of the installed peers, by name."""
    host = "127.0.0.1"
    shell = shlex.split(lab.ssh())
    found: dict[str, Sequence[str]] = {
        "rsync -a": ["rsync", "-a", "-e", lab.ssh(), f"{source}/", f"{host}:{destination}/"],
        "rsync -W": ["rsync", "-aW", "-e", lab.ssh(), f"{source}/", f"{host}:{destination}/"],
        "rsync -W, AES-GCM": ["rsync", "-aW", "-e", lab.ssh(*_AES), f"{source}/", f"{host}:{destination}/"],
        "scp": ["scp", "-q", "-r", "-p", "-P", shell[2], *shell[3:], str(source), f"{host}:{destination}"],
    }
    if shutil.which("ansible-playbook"):
        found[ANSIBLE] = _ansible(lab, source, destination)
    return {name: command for name, command in found.items() if shutil.which(command[0])}


def timed(command: Sequence[str], lab: Lab) -> tuple[Ended, float]:
    """Run a peer once; return its seconds up to the end of ``sync -f``."""
    ended = run(command, log=lab.directory / "log")
    sync(lab.receiver.mount)
    return ended, time.monotonic() - ended.began


def _ansible(lab: Lab, source: Path, destination: Path) -> Sequence[str]:
    """Write a playbook of one task, without gathering facts, which it doesn't need."""
    shell = shlex.split(lab.ssh())
    inventory = {
        "all": {
            "hosts": {
                "host": {
                    "ansible_host": "127.0.0.1",
                    "ansible_port": lab.host.port,
                    "ansible_user": lab.host.subscriber.address.user,
                    "ansible_ssh_private_key_file": str(lab.host.identity),
                    "ansible_ssh_common_args": shlex.join(shell[3:]),
                    "ansible_python_interpreter": sys.executable,
                }
            }
        }
    }
    task = {"ansible.posix.synchronize": {"src": f"{source}/", "dest": f"{destination}/"}}
    play = [{"hosts": "all", "gather_facts": False, "tasks": [task]}]
    (lab.directory / "inventory.json").write_text(json.dumps(inventory))
    (lab.directory / "play.json").write_text(json.dumps(play))
    return ["ansible-playbook", "-i", str(lab.directory / "inventory.json"), str(lab.directory / "play.json")]

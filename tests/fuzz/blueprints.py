"""Blueprints of up to 64 KiB made at random, each validated in a process of its own that may take a second of CPU and 100 MB of memory.

``python -m tests.fuzz.blueprints --count 20000`` prints what it found: seeds of failures, the slowest and the largest. ``--seed`` repeats
one. Whatever a blueprint contains, it is a site or is refused with file and line; it is never a fault of Sluice (exit code 70).
"""

from __future__ import annotations

import argparse
import copy
import multiprocessing
import os
import random
import resource
import signal
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from sluice.blueprint import load_site
from sluice.blueprint.check.advice import advice
from sluice.blueprint.schema.complaints import keys_of
from sluice.blueprint.schema.kinds import KINDS
from sluice.blueprint.start import site_files
from sluice.errors import SiteError

SIZE_MAX = 64 * 1024
"""Bytes of a blueprint."""
CPU_MAX = 1.0
"""Seconds of CPU, as ``sluice validate`` promises."""
MEMORY_MAX = 100 * 1024
"""KiB of the whole process, Python included."""
ADDRESSES = 512 * 1024 * 1024
"""Bytes of addresses beyond those at its start: a guard for this machine, far above what may be used."""

RICH = """
kind: Distribution
name: rich
distributor: hq
type: file
channels: [c]
build: {daily: {at: "21:30", days: mon-fri}, timezone: Europe/Helsinki}
send: immediately
notify: {to: [ops@example.org], when_left: 2}
platforms: [linux]
locked: {retries: 3, wait: 10 s}
files:
  - {source: /srv/a, destination: "{{ DEST }}/a", synchronize: mirror, max_removals: 20%, exclude: ["*.tmp", "!a.tmp", /b/c], owner: "a:b"}
  - {source: b, destination: "/opt/b", mode: "0644", xattrs: {user.a: b}}
pre_actions: [{script: {type: shell, run: 'echo "{{ DEST }}"', undo: none}}, {stop_process: {name: a, wait: true, undo: none}}]
post_actions: [{start_process: {path: "{{ DEST }}/x", arguments: [a, "{{ TAG | upper }}"], undo: none}}]
---
{kind: Defaults, where: 'site == "a" and not (role in ("b", "c"))', subscriber: {variables: {TAG: "{{ DEST | default('x') }}"}}}
---
{kind: Distributor, name: hq, working_directory: /var/lib/sluice/hq, mail: {server: "smtp.example.org:25", from: a@example.org}}
---
{kind: Subscriber, name: s, address: "local:/srv/s", working_directory: /srv/s/w, variables: {DEST: /opt, TAG: x}, tags: {site: a, role: b}}
---
{kind: Channel, name: c, send: {cron: "0 2 * * mon"}, subscribers: [s, {where: 'site == "a"'}]}
"""
DOCUMENTS: list[Any] = [d for name, text in site_files().items() if name.endswith(".yaml") for d in yaml.safe_load_all(text)]
DOCUMENTS += list(yaml.safe_load_all(RICH))
KEYS = sorted(
    {key for model in KINDS.values() for key in keys_of(model)} | {"script", "run", "undo", "where", "days", "cron", "rrule", "at"}
)
WORDS = [
    "never",
    "{{ DEST }}/x",
    "{{ 'x' * 10**9 }}",
    "{% for a in b %}{% endfor %}",
    "{{ range(10**9) }}",
    "{{ A ~ A }}",
    "/",
    "..",
    "-",
    "{}",
]
WORDS += [
    'site == "office"',
    "name in (",
    "not " * 40 + 'a == "b"',
    "9" * 5000,
    "1e999",
    ".inf",
    "0x" + "f" * 200,
    "2026-02-30",
    "22:00",
    "~",
]
WORDS += [
    "*/1 * * * *",
    "0 2 */2 * mon",
    "FREQ=SECONDLY;COUNT=999999999",
    "FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
    "30 min",
    "99999 week",
    "0%",
]
WORDS += [
    "[" * 50,
    "**/" * 60,
    "*a" * 300,
    "!",
    "\\",
    "\u202eabc",
    "é",
    "e\u0301",
    "\U0001f4a9",
    "\x85",
    "\u2028",
    "\ufeff",
    "\x7f",
    "١٢",
]


EXPRESSIONS: list[Callable[[int], str]] = [
    lambda n: "{{ DEST | upper }}",
    lambda n: "{{ DEST | quote }}" * (n % 9 + 1),
    lambda n: f'{{{{ DEST | replace("/", "/{n}") }}}}',
    lambda n: '{{ "' + "é" * (n % 3000) + '" | upper }}',
    lambda n: f'{{{{ DEST ~ "{n}" ~ NAME }}}}',
    lambda n: f'{{{{ NOT | default("{n}") }}}}',
    lambda n: f'{{{{ "a" if DEST == "/{n}" or DEST in NAME else NAME }}}}',
    lambda n: f'{{{{ "a" if "b{"a" * 90}" in "{"a" * 4000}" else NAME }}}}',
]
"""Expressions, each another for each number."""


def blueprint(seed: int) -> bytes:
    """Make one blueprint."""
    chance = random.Random(seed)
    made = chance.choices([_mutated, _torn, _repeated, _punctuated], [5, 3, 3, 1])[0](chance)
    return made.encode("utf-8", "surrogatepass")[:SIZE_MAX]


def _junk(chance: random.Random, depth: int = 0) -> Any:
    simple: list[Callable[[], Any]] = [
        lambda: chance.choice(WORDS),
        lambda: chance.choice(WORDS) * chance.choice([1, 2, 100, 2000]),
        lambda: chance.choice([None, True, False, 0, -1, 2**63, 10 ** chance.randint(0, 400), 1.5, float("nan"), float("-inf")]),
        lambda: "".join(chance.choices("ab0 :-{}[]%!&*'\"\\#|>\t\n/.é", k=chance.randint(0, 30))),
    ]
    nested: list[Callable[[], Any]] = [
        lambda: [_junk(chance, depth + 1) for _ in range(chance.randint(0, 4))],
        lambda: {chance.choice([*KEYS, *WORDS]): _junk(chance, depth + 1) for _ in range(chance.randint(0, 4))},
        lambda: _deep(chance.randint(2, 40)),
    ]
    return chance.choice(simple + (nested if depth < 4 else []))()


def _deep(levels: int) -> Any:
    found: Any = "x"
    for level in range(levels):
        found = [found] if level % 2 else {"a": found}
    return found


def _places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    found = [path] if path else []
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        found += _places(inner, (*path, key))
    return found


def _mutated(chance: random.Random) -> str:
    """A good site with a few values of other kinds, other keys, or whole parts elsewhere."""
    site = copy.deepcopy(DOCUMENTS)
    for _ in range(chance.randint(0, 4)):
        path = chance.choice(_places(site))
        around: Any = site
        for step in path[:-1]:
            around = around[step]
        if isinstance(around, dict) and chance.random() < 0.3:
            around[chance.choice(KEYS)] = _junk(chance)
        else:
            around[path[-1]] = chance.choice([_junk(chance), copy.deepcopy(chance.choice(site))])
    return str(
        yaml.dump_all(site, Dumper=_Dumper, allow_unicode=chance.random() < 0.5, default_flow_style=chance.choice([None, True, False]))
    )


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]
    """Writes everything out."""

    def ignore_aliases(self, data: Any) -> bool:
        return True


PIECES = [
    "\ud800",
    "!!python/object/apply:os.system [ls]",
    "!a ",
    "&a ",
    "*a",
    "<<: *a\n",
    "---\n",
    "...\n",
    "%YAML 1.2\n",
    "? [a, b]\n: c\n",
    "\t",
    "\r\n",
]
PIECES += [
    "\x00",
    "\ufeff",
    "|\n",
    ">-\n",
    "- ",
    ": ",
    "{",
    "}",
    "[",
    "]",
    '"',
    "'",
    "#",
    "\\",
    "!!binary aGk=",
    "!!set {a, b}",
    "=",
    "é",
    "\u2028",
]


def _torn(chance: random.Random) -> str:
    """The text of a good site with pieces put in, taken out, doubled and moved."""
    text = _mutated(chance) if chance.random() < 0.5 else RICH
    for _ in range(chance.randint(1, 8)):
        at, to = sorted(chance.randrange(len(text) + 1) for _ in range(2))
        to = min(to, at + 200)
        text = chance.choice([text[:at] + chance.choice(PIECES) + text[at:], text[:at] + text[to:], text[:to] + text[at:]])
    if chance.random() < 0.1:
        text = text.replace("\n", "\r\n")
    return chance.choice(["", "", "", "\ufeff"]) + text


def _fill(head: str, line: Callable[[int], str], chance: random.Random) -> str:
    """As many lines as fit, or few."""
    parts, size, most = [head], len(head), chance.choice([SIZE_MAX, SIZE_MAX, SIZE_MAX // 8, 2000])
    most = max(most, min(len(head) + 2000, SIZE_MAX))
    for number in range(20_000):
        part = line(number)
        size += len(part.encode("utf-8", "surrogatepass"))
        if size > most - 20:
            break
        parts.append(part)
    return "".join(parts).rstrip(", ") + (_closing(head) if chance.random() < 0.8 else "")


def _closing(head: str) -> str:
    """Return what closes the brackets and quotes that are open in the last document."""
    pairs, opened = {"[": "]", "{": "}", "(": ")", "'": "'", '"': '"'}, list[str]()
    for character in head.rpartition("---\n")[2]:
        if opened and character == opened[-1]:
            opened.pop()
        elif character in pairs:
            opened.append(pairs[character])
    return "".join(reversed(opened))


HOST = "---\n{{kind: Subscriber, name: s{0}, address: 'local:/{0}', working_directory: /{0}/w, variables: {{DEST: /d}}}}\n"
FILES = "---\nkind: Distribution\nname: d\ndistributor: hq\ntype: file\nchannels: [c]\nfiles:\n"


def _repeated(chance: random.Random) -> str:
    """One thing over and over, so that everything that grows faster than its text is found out."""
    base, all_of = RICH.strip() + "\n", "---\n{kind: Channel, name: all, subscribers: [{where: 'platform == \"\"'}]}\n"
    word = chance.choice(WORDS)
    dist = "---\n{{kind: Distribution, name: d{0}, distributor: hq, type: file, channels: [all], "
    dist += "files: [{{source: /s, destination: '{1}/{0}'}}]}}\n"
    hosts = "".join(HOST.format(number) for number in range(chance.choice([1, 10, 100, 300])))
    own = "".join(HOST.replace("DEST: /d", "DEST: /{0}").format(number) for number in range(chance.choice([100, 300, 450])))
    all_files = FILES.replace("[c]", "[all]")
    sets = "".join(HOST.replace("DEST:", "V{0}: x, DEST:").format(number) for number in range(chance.choice([100, 300, 400])))
    shared, filled = chance.choice(["{{{{ DEST }}}}", "/d", "{{{{ DEST | upper }}}}"]).format(), chance.choice(EXPRESSIONS)
    channels = [f"k{number}" for number in range(chance.choice([10, 100, 300]))]
    many = "".join(f"---\n{{kind: Channel, name: {each}, subscribers: [{{where: 'platform == \"\"'}}]}}\n" for each in channels)
    supplied = "---\nkind: Defaults\nsubscriber:\n  variables:\n"
    supplied += "".join(f"    W{number}: '{filled(number)}'\n" for number in range(chance.choice([50, 120])))
    script = FILES.replace("[c]", "[all]").replace("files:", "files: [{source: /s, destination: /d}]\npost_actions:")
    kinds: list[tuple[str, Callable[[int], str]]] = [
        (base, HOST.format),
        (base + all_of + hosts, lambda n: dist.format(n, shared)),
        (
            base + all_of + hosts + FILES.replace("[c]", "[all]"),
            lambda n: f"- {{source: /s{n}, destination: '{shared}/{n}', synchronize: mirror}}\n",
        ),
        (base + hosts + "---\n{kind: Channel, name: many, subscribers: [\n", lambda n: f"s{n % 100},\n"),
        (base + hosts + "---\nkind: Channel\nname: many\nsubscribers:\n", lambda n: f"- {{where: 'name == \"s{n}\"'}}\n"),
        (base + hosts, lambda n: f"---\n{{kind: Channel, name: c{n}, subscribers: [{{where: 'name != \"s{n}\"'}}]}}\n"),
        (base + hosts, lambda n: f"---\n{{kind: Defaults, where: 'name != \"s{n}\"', subscriber: {{variables: {{V{n}: a}}}}}}\n"),
        (base, lambda n: f"---\n{{kind: Defaults, where: '{'not ' * (n % 31)}site == \"a\"', subscriber: {{tags: {{t{n}: a}}}}}}\n"),
        (base + "---\nkind: Defaults\nsubscriber:\n  variables:\n", lambda n: f"    V{n}: '{{{{ V{n + 1} }}}}{{{{ V{n + 1} }}}}'\n"),
        (base + "---\nkind: Defaults\nsubscriber:\n  variables:\n", lambda n: f"    V{n}: '{{{{ V{max(n - 1, 0)} }}}}x'\n"),
        (base + "---\nkind: Defaults\nsubscriber:\n  tags:\n", lambda n: f"    t{n}: a\n"),
        (base + FILES + "- source: /s\n  destination: /d\n  exclude:\n", lambda n: f"  - '{word.replace(chr(39), '')}{n}'\n"),
        (base + FILES + "- source: /s\n  destination: /d\n  exclude: [a,\n", lambda n: f"  '!{'a/' * (n % 60)}b*',\n"),
        (base + FILES + "- source: /s\n  destination: /d\n  exclude: [\n", lambda n: f"  '{'*a' * (n % 900)}',\n"),
        (
            base + FILES + "- source: /s\n  destination: '",
            lambda n: chance.choice(["{{ DEST }}", "{{ 'a' ~ 'b' }}", "/{{", "}}", "{{ A if B else C }}"]),
        ),
        (
            base + FILES + "- source: /s\n  destination: '{{ ",
            lambda n: chance.choice(["not ", "(", "'a' ~ ", "A | upper | ", "A == B and "]),
        ),
        (base + FILES, lambda n: f"- {{source: /s, destination: '{{{{ DEST }}}}/{n}/{{{{ DEST }}}}'}}\n"),
        (base + all_of + hosts + script, lambda n: "- {script: {type: shell, run: 'echo {{ DEST }}', undo: none}}\n"),
        (
            base + all_of + hosts + script,
            lambda n: f"- {{start_process: {{path: '{{{{ DEST }}}}/x', arguments: ['{{{{ DEST }}}}{n}'], undo: none}}}}\n",
        ),
        (base + all_of + own + all_files, lambda n: f"- {{source: /s, destination: '{{{{ DEST }}}}/{n}'}}\n"),
        (base + all_of + own + all_files, lambda n: f"- {{source: /s, destination: '{{{{ DEST }}}}/{n}', synchronize: mirror}}\n"),
        (base + all_of + own + script, lambda n: f"- {{script: {{type: shell, run: 'echo {{{{ DEST }}}} {n}', undo: none}}}}\n"),
        (
            base + all_of + own + script + "- start_process:\n    path: /x\n    undo: none\n    arguments:\n",
            lambda n: f"    - '{{{{ DEST }}}}{n}'\n",
        ),
        (base + own + "---\nkind: Defaults\nsubscriber:\n  variables:\n", lambda n: f"    V{n}: '{{{{ DEST }}}}{n}'\n"),
        (base + own + "---\nkind: Defaults\nsubscriber:\n  variables:\n", lambda n: f"    V{n}: '{filled(n)}'\n"),
        (base + supplied, HOST.replace("DEST: /d", "DEST: /{0}").format),
        (base + own + "---\nkind: Defaults\nsubscriber:\n  tags:\n", lambda n: f"    t{n}: a\n"),
        (base + all_of + own + all_files, lambda n: f"- {{source: /s, destination: '/{n}{filled(n)}'}}\n"),
        (base + all_of + own + all_files, lambda n: f"- {{source: /s, destination: '/{n}{filled(n)}', synchronize: mirror}}\n"),
        (base + all_of + own, lambda n: dist.format(n, filled(n))),
        (base + all_of + own + script, lambda n: f"- {{script: {{type: shell, run: '{filled(n)} {n}', undo: none}}}}\n"),
        (
            base + all_of + own + script + "- start_process:\n    path: /x\n    undo: none\n    arguments:\n",
            lambda n: f"    - '{filled(n)}{n}'\n",
        ),
        (base + all_of + sets + all_files, lambda n: f"- {{source: /s, destination: '/d/{n}{filled(n)}'}}\n"),
        (base + all_of + sets + all_files, lambda n: f"- {{source: /s, destination: '{{{{ V{n} }}}}/{n}'}}\n"),
        (
            base + all_of + sets + script + "- start_process:\n    path: /x\n    undo: none\n    arguments:\n",
            lambda n: f"    - '{{{{ V{n} | default(\"/x\") }}}}'\n",
        ),
        (base + many + hosts, lambda n: dist.format(n, shared).replace("[all]", str(channels))),
        (base + own + '---\nkind: Channel\nname: x\nsubscribers: [{where: \'a == "b"', lambda n: f' or name == "s{n}"'),
        (base, lambda n: f"---\n{{kind: Channel, name: r{n}, send: {{rrule: 'FREQ=DAILY;BYHOUR={n % 24};BYMINUTE={n // 24 % 60}'}}}}\n"),
        (base + "---\nkind: Channel\nname: x\nsend: {yearly: {days: [\n", lambda n: f'"{n % 12 + 1:02}-{n % 28 + 1:02}",\n'),
        (base + "---\nkind: Channel\nname: x\nsend: {rrule: 'FREQ=DAILY;BYMINUTE=", lambda n: f"{n % 60},"),
        (base + "---\nkind: Channel\nname: x\nsend: {cron: '0 ", lambda n: f"{n % 24},"),
        (base + "---\nkind: Channel\nname: x\nsubscribers: [{where: 'site in (", lambda n: f'"{n}", '),
        (base, lambda n: f"{word}{n}: a\n"),
        (base, lambda n: f"x{n}: [{word!r}\n"),
        (base, lambda n: "---\n"),
        (base, lambda n: f"---\nkind: Channel\nname: c{n}\ndescription: @{n}\n"),
        (base, lambda n: f"---\nkind: Chanel\nname: c{n}\nsubscribers: [nosuch]\n"),
        (base + "---\nkind: Distribution\n", lambda n: f"des{n}: a\n"),
        (base + FILES, lambda n: f"- {{sorce: a, dest{n}: b}}\n"),
        (base + FILES, lambda n: f"- {{source: a, destination: '{{{{ V{n} }}}}'}}\n"),
        (base + "---\nkind: Channel\nx: a: [@b ", lambda n: " " * 99 + chance.choice(["{{ a", "a", ": ", "@"])),
        (base, lambda n: f"---\n{{kind: {chance.choice([*KINDS, 'Subscribr', 'x'])}, name: n{n}}}\n"),
        (base, lambda n: f"---\n{{kind: Channel, name: same, subscribers: [nosuch{n}]}}\n"),
        ("a: &a [x,x,x]\n", lambda n: f"b{n}: &b{n} [*a,*a,*a,*a]\n"),
        ("", lambda n: chance.choice(["[", "{a: ", "- ", "? ", "&a ", "!a ", "'", '"', "* ", "|\n ", "a: "])),
    ]
    head, line = chance.choice(kinds)
    return _fill(head, line, chance)


def _punctuated(chance: random.Random) -> str:
    """Nothing but what YAML gives a meaning."""
    return "".join(chance.choices([*PIECES, "a", "kind", ": ", "\n", " ", "  "], k=chance.choice([20, 200, 2000, 20_000])))


@dataclass(frozen=True)
class Outcome:
    """How the validation of one blueprint ended."""

    seed: int
    kind: str
    """``valid``, ``refused``, or ``failed``."""
    cpu: float
    """Seconds."""
    memory: int
    """KiB at most."""
    failure: str = ""


def judged(seed: int, most: float = CPU_MAX) -> Outcome:
    """Validate one blueprint in a child process that may take ``most`` seconds of CPU."""
    with tempfile.TemporaryDirectory() as name:
        directory, told = Path(name), Path(name, ".told")
        (directory / "a.yaml").write_bytes(blueprint(seed))
        child = os.fork()
        if child == 0:
            os._exit(_validate(directory, told, most))
        _, status, used = os.wait4(child, 0)
        cpu, memory, code = used.ru_utime + used.ru_stime, used.ru_maxrss, os.waitstatus_to_exitcode(status)
        failure = told.read_text() if told.exists() else f"ended with {code}" if code not in (0, 3) else ""
        if code == -signal.SIGPROF or cpu > most:
            failure += f"{cpu:.1f} s of CPU"
        elif memory > MEMORY_MAX:
            failure += f"{memory // 1024} MiB of memory"
        return Outcome(seed, "failed" if failure else "valid" if code == 0 else "refused", cpu, memory, failure)


def _validate(directory: Path, told: Path, most: float) -> int:
    """As ``sluice validate`` does; returns its exit code. What is wrong with an error goes to ``told``."""
    (addresses,) = (int(line.split()[1]) * 1024 for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (addresses + ADDRESSES,) * 2)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.setitimer(signal.ITIMER_PROF, most)
    try:
        for each in advice(load_site(directory), datetime.now(UTC)):
            assert each.line > 0, each  # of files there is only one
    except SiteError as error:
        unplaced = [str(e) for e in error.errors if e.file != str(directory / "a.yaml") or e.line < 1 or not e.message or not e.remedy]
        empty = [f"{directory}: contains no blueprints: write a .yaml file, or create a site with sluice init"]
        if unplaced or not error.errors:
            told.write_text(f"without file, line or remedy: {unplaced[:3] or empty}")
        return 3
    except BaseException:  # noqa: BLE001 - all of it would be exit code 70
        told.write_text(traceback.format_exc()[-1500:])
        return 70
    return 0


def judge_all(seeds: range, *, workers: int, most: float = CPU_MAX) -> list[Outcome]:
    """Validate the blueprints of many seeds, from new interpreters: one that has run tests has memory that isn't the validation's."""
    with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn")) as pool:
        return list(pool.map(partial(judged, most=most), seeds, chunksize=20))


def main() -> int:
    """Print what was found; exit code 1 if a blueprint failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0, help="the first; each blueprint has one of its own")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--print", action="store_true", dest="shows", help="print the blueprint of --seed and do nothing else")
    options = parser.parse_args()
    if options.shows:
        sys.stdout.buffer.write(blueprint(options.seed))
        return 0
    found = judge_all(range(options.seed, options.seed + options.count), workers=options.workers)
    failed = [each for each in found if each.kind == "failed"]
    for each in failed[:50]:
        print(f"seed {each.seed}: {each.failure}")
    slow, large = max(found, key=lambda each: each.cpu), max(found, key=lambda each: each.memory)
    print(f"{len(found)} blueprints: {dict(Counter(each.kind for each in found))}")
    print(f"most CPU: {slow.cpu:.2f} s (seed {slow.seed}); most memory: {large.memory // 1024} MiB (seed {large.seed})")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

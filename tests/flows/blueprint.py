"""A site of blueprints on disk, for flows that read one."""

from pathlib import Path

HOSTS = ("helsinki-1", "helsinki-2", "oslo-1")


def write_site(
    directory: Path,
    *,
    retry: str = "{every: 2 min, for: 30 min}",
    extract: str = "immediately",
    send: str = "on schedule",
    limit: int | None = None,
    more: int = 0,
    active: bool = True,
    text: str = "UTC+2",
) -> Path:
    """Write, or write anew, a Distributor ``hq``, a Channel ``night`` with ``zone`` and three local Subscribers, or more."""
    (directory / "files").mkdir(parents=True, exist_ok=True)
    (directory / "files" / "Helsinki").write_text(text, encoding="utf-8")
    names = [*HOSTS, *(f"oslo-{number + 2}" for number in range(more))]
    hosts = [
        f"kind: Subscriber\nname: {name}\naddress: local:hosts/{name}\nworking_directory: hosts/{name}/sluice\nextract: {extract}\n"
        f"variables: {{DEST: {directory}/hosts/{name}/zone}}\n"
        for name in names
    ]
    most = "" if limit is None else f"max_concurrent: {limit}\n"
    (directory / "hq.yaml").write_text(f"kind: Distributor\nname: hq\nworking_directory: var/hq\nretry: {retry}\n{most}", encoding="utf-8")
    (directory / "hosts.yaml").write_text("---\n".join(hosts), encoding="utf-8")
    (directory / "night.yaml").write_text(
        f"kind: Channel\nname: night\nactive: {str(active).lower()}\nsend: {{daily: {{at: '22:00'}}}}\nsubscribers: [{', '.join(names)}]\n",
        encoding="utf-8",
    )
    (directory / "zone.yaml").write_text(
        "kind: Distribution\nname: zone\ndistributor: hq\ntype: file\nchannels: [night]\nbuild: {every: 1 h}\n"
        f"active: {str(active).lower()}\nsend: {send}\nextract: on schedule\n"
        'files: [{source: files, destination: "{{ DEST }}"}]\n',
        encoding="utf-8",
    )
    return directory

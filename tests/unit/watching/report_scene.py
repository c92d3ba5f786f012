"""A run as `report` gathers it, from an in-memory store; and its page as a parser sees it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

from tests.unit.watching.scene import LAYOUT, NOW, Scene

from parallelize.fleet.instances import Machine
from parallelize.report.data import Gathered, Provenance, Report, Setting, make_report
from parallelize.runs.results.merge import read_sizes
from parallelize.runs.state.history import read_attempts, read_finished, told_of_each
from parallelize.runs.state.snapshot import Snapshot

PROVENANCE = Provenance(
    version="0.1.0", region="eu-west-1", bucket="bucket",
    settings=(Setting("run.name", "scans", "parallelize.toml"),), tags={"project": "scans"},
)  # fmt: skip
VOID = {"br", "hr", "img", "input", "link", "meta"}


def gathered(scene: Scene, seen: Snapshot | None = None, **changes: Any) -> Gathered:
    snapshot = seen or scene.snapshot()
    sizes = read_sizes(scene.store, LAYOUT, snapshot.run)
    found: dict[str, Any] = {
        "results": told_of_each(read_finished(scene.store, snapshot, sizes.firsts())),
        "attempts": read_attempts(scene.store, LAYOUT),
        "machines": None, "on_demand": {}, "provenance": PROVENANCE, **changes,
    }  # fmt: skip
    return Gathered(snapshot=snapshot, sizes=sizes, **found)


def report_on(scene: Scene, seen: Snapshot | None = None, **changes: Any) -> Report:
    return make_report(gathered(scene, seen, **changes))


def machine(name: str, state: str = "terminated", launched: float = NOW - 700) -> Machine:
    when = datetime.fromtimestamp(launched, UTC)
    return Machine(name, state, "c7i.xlarge", "euw1-az2", "spot", "scans", when, "", "ami-1")


def at(seconds: float) -> str:
    """Return the time some seconds before NOW as records have it."""
    return datetime.fromtimestamp(NOW - seconds, UTC).isoformat().replace("+00:00", "Z")


@dataclass
class Page(HTMLParser):
    """What is in a page: fails for tags that do not match."""

    html: str
    open: list[str] = field(default_factory=list)
    tags: list[tuple[str, Mapping[str, str | None]]] = field(default_factory=list)
    texts: dict[str, list[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.feed(self.html)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: Any) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag, f"</{tag}> at {self.getpos()}"

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.setdefault(self.open[-1], []).append(data)

    @property
    def text(self) -> str:
        hidden = {"script", "style"}
        return " ".join(t for tag, all_ in self.texts.items() if tag not in hidden for t in all_)

    @property
    def data(self) -> Any:
        return json.loads(self.texts["script"][0])

    @property
    def files(self) -> Any:
        return json.loads(self.texts["script"][1])

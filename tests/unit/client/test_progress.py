import io
import sys

import pytest

from parallelize.progress import LINE_SECONDS, Lines, progress
from parallelize.runs.state.watch import LogView, open_view


class Terminal(io.StringIO):
    """Takes what is printed, and says that it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("kind", "is_log"), [("dumb", True), ("unknown", True), ("xterm", False)])
def test_a_terminal_that_cannot_renew_a_line_gets_lines(
    kind: str, is_log: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setenv("TERM", kind)
    with progress("uploaded", 1) as step, open_view() as view:
        assert isinstance(step, Lines) is is_log
        assert isinstance(view, LogView) is is_log


def test_a_log_gets_a_line_every_30_seconds_and_one_at_the_end() -> None:
    now = 0.0
    lines: list[str] = []
    step = Lines("uploaded", 1200, lines.append, lambda: now)
    for _ in range(1000):
        now += LINE_SECONDS / 256  # exact in binary
        step(size=1024)
    step.line()
    assert [line.split(" ", 1)[1] for line in lines] == [
        "uploaded 256/1,200  256.0 KiB", "uploaded 512/1,200  512.0 KiB",
        "uploaded 768/1,200  768.0 KiB",
        "uploaded 1,000/1,200  1000.0 KiB",
    ]  # fmt: skip

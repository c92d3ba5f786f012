from parallelize.progress import LINE_SECONDS, Lines


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

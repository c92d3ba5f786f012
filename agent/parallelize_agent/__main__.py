"""Run the agent, as `parallelize-agent` or as `python -m parallelize_agent`."""

from __future__ import annotations

import gc


def main() -> None:
    """Run the agent and exit."""
    # What is loaded at the start stays, and the collector would scan it again and again: a
    # twentieth of the start. Collection begins when the worker is put together.
    gc.disable()
    from parallelize_agent.cli import main as run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()

"""Run the agent, as `parallelize-agent` or as `python -m parallelize_agent`."""

from __future__ import annotations

import gc
import sys


def main() -> None:
    """Run the agent and exit."""
    # Objects loaded at the start live on, and the collector would scan them again and again: a
    # twentieth of the start-up time. Collection begins once the worker is assembled.
    gc.disable()
    # Where rich is installed, structlog would load it for console output, which no worker writes.
    sys.modules["rich"] = None  # type: ignore[assignment]
    from parallelize_agent.cli import main as run  # noqa: PLC0415 - see above

    run()


if __name__ == "__main__":
    main()

"""Run the agent as `python -m parallelize_agent`."""

from parallelize_agent.cli import main

if __name__ == "__main__":
    main()

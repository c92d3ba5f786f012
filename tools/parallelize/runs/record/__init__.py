"""The run's record: its settings, whose it is, and what has changed since results were made."""

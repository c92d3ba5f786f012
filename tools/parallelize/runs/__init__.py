"""A run as the client sees it: its inputs and environment, its record, its results, its state."""

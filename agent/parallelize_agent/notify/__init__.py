"""Notifies people of the end of a run: once, by the first worker to leave."""

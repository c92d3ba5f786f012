"""Notifies people of the end of a run: once, by whichever worker leaves first."""

"""The page that tells how a run went, and the same as JSON."""

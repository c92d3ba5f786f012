"""The workers' machine image: how it is built, and which old ones may be deleted."""

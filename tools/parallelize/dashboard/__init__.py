"""A live run in a browser: a read-only server on loopback."""

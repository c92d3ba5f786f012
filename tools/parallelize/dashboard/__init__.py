"""A live run in a browser: a server on loopback that shows, and changes nothing."""

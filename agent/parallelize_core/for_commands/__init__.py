"""Modules that commands in Python may import on a worker; each is self-contained."""

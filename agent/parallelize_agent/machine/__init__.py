"""The machine under the worker: its size, its metadata and notices, its group, systemd."""

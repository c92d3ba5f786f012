"""The parameters of each command; to read them imports nothing that only their work needs."""

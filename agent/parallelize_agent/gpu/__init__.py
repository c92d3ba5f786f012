"""GPUs of this machine: which there are, whose they are, and how they do."""

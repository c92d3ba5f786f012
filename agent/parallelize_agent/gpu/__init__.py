"""GPUs of this machine: which there are, which jobs use them, and their health."""

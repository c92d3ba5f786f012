"""Commands in a registry's image: pulled, unpacked and entered without a daemon."""

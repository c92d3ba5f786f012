"""Commands in an image of a registry: pulled, unpacked and entered without a daemon."""

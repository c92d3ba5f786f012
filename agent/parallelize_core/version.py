"""The version of the distribution: the build reads it here, so that no start has to ask for it."""

VERSION = "0.1.0"

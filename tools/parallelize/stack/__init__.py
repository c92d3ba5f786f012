"""The CloudFormation template that an administrator deploys once per account and region."""

from __future__ import annotations

from importlib.resources import files


def template() -> str:
    """Return the template's text."""
    return files(__package__).joinpath("parallelize.yaml").read_text(encoding="utf-8")

"""Launch templates for moto of which a group can start later versions, too.

moto 5.2 takes the user data of a template's first version for what it is, Base64, and that of a
later one for mere text. A group that starts a machine from such a version ends in HTTP 500.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models import launch_templates
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.utils import parse_user_data


class Template(LaunchTemplate):
    """moto's launch template, all of whose versions are alike."""

    def create_version(self, data: dict[str, Any], description: str) -> LaunchTemplateVersion:
        """Add a version; moto's constructor calls this for the first."""
        given = data.get("UserData")
        parsed = {**data, "UserData": parse_user_data(given)} if isinstance(given, str) else data
        return super().create_version(parsed, description)


def install() -> None:
    """Let moto use it in place of its own; to be called before its first use."""
    launch_templates.LaunchTemplate = Template  # type: ignore[misc]

"""Launch templates for moto whose later versions a group can start, too.

moto 5.2 treats the user data of a template's first version as Base64, which it is, but that of
later versions as plain text. A group that starts a machine from such a version gets HTTP 500.
"""

from __future__ import annotations

from typing import Any

from moto.ec2.models import launch_templates
from moto.ec2.models.launch_templates import LaunchTemplate, LaunchTemplateVersion
from moto.ec2.utils import parse_user_data


class Template(LaunchTemplate):
    """moto's launch template, with all versions treated alike."""

    def create_version(self, data: dict[str, Any], description: str) -> LaunchTemplateVersion:
        """Add a version; moto's constructor calls this for the first one."""
        given = data.get("UserData")
        parsed = {**data, "UserData": parse_user_data(given)} if isinstance(given, str) else data
        return super().create_version(parsed, description)


def install() -> None:
    """Make moto use it in place of its own; call this before the first use."""
    launch_templates.LaunchTemplate = Template  # type: ignore[misc]

"""Jobs in a container, on a worker in this process, with an image from a registry on loopback."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.functional.container.images import (
    Registry,
    needs_registry,
    serve_registry,
    shell_image,
)

pytestmark = needs_registry

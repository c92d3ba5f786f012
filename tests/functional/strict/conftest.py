"""The account of the fleet's tests, under AWS's refusals."""

from tests.functional.fleet.conftest import (  # noqa: F401 - fixtures
    account,
    boto_wire,
    descriptions_read_once,
    every_version_starts_machines,
    no_value_is_no_value,
    parallelize,
    vendors,
    wheels,
)

"""A recipe that somebody else has written: what `explain` compares with, and shows."""

from __future__ import annotations

import json

import pytest

from parallelize.runs.environment.recipe import Recipe, publish_recipe, read_recipe
from parallelize.runs.record.differences import between_recipes
from parallelize.together import Together
from parallelize_core.errors import DecodeError
from parallelize_core.layout import Location, RunLayout
from parallelize_core.testing import InMemoryStore

LAYOUT = RunLayout(Location("bucket"), "r")
NOW = Recipe(settings={"command": ["./job.sh"]}, files={"job.sh": f"100755 {'a' * 64}"})
VALUES = [None, 5, "\x1b[2J", [1, [2]], {"a": {}}, True, 1e300, [], {}]


@pytest.mark.parametrize("value", VALUES, ids=repr)
@pytest.mark.parametrize(
    "name", ["command", "naming", "setup", "serve", "columns", "environment", "image", "nonesuch"]
)
def test_a_setting_of_any_kind_is_told_in_harmless_words(name: str, value: object) -> None:
    old = Recipe(settings={**NOW.settings, name: value}, files=NOW.files)
    assert not any("\x1b" in line for line in between_recipes(old, NOW))
    assert not any("\x1b" in line for line in between_recipes(NOW, old))


@pytest.mark.parametrize("file", ["", "100755", f"9 {'a' * 64}", f"7 {'a' * 64} b", "\x1b[2J x"])
def test_what_no_file_can_have_is_no_recipe(file: str) -> None:
    with pytest.raises(DecodeError):
        Recipe.decode(json.dumps({"v": 1, "settings": {}, "files": {"a": file}}).encode())


@pytest.mark.parametrize("body", [b"", b"null", b"\xff", b'{"v":1,"settings":{}}', b'{"v":2}'])
def test_what_is_not_the_recipe_of_that_name_is_none(body: bytes) -> None:
    store = InMemoryStore()
    publish_recipe(Together(store), LAYOUT, NOW)()
    assert read_recipe(store, LAYOUT, NOW.digest) == NOW
    store.put(LAYOUT.recipe(NOW.digest), body)
    assert read_recipe(store, LAYOUT, NOW.digest) is None

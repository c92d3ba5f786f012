"""A command with places for its input gets it there, and what it names is delivered."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.functional.agent.conftest import MakeBench

from parallelize_core import keys

SHOW = 'for word in "$@"; do printf "[%s]" "${word##*/}"; done > shown'
NAMES = st.text(st.sampled_from("a .-'\"$`;&|<>(){}*?!\\#\n~=é"), min_size=1, max_size=12).filter(
    lambda name: not keys.refusal(name)
)


def test_the_input_is_where_its_place_is_and_not_at_the_end(make: MakeBench) -> None:
    bench = make(f"{SHOW}; echo shown", template=("-i", "{}", "-o", "{/.}.png", "-v"))
    bench.add({"photos/a.b.jpg": b"jpg"})
    bench.run()
    assert bench.output("photos/shown") == b"[-i][a.b.jpg][-o][a.b.png][-v]"


def test_a_file_that_the_command_names_is_delivered_although_it_prints_nothing(
    make: MakeBench,
) -> None:
    bench = make('cp "$1" "$2"; echo aside > aside', template=("{}", "{/.}.png"))
    bench.add({"photos/a.jpg": b"jpg", "b.jpg": b"too"})
    bench.run()
    assert bench.outputs() == {"photos/a.png", "b.png"}
    assert bench.output("photos/a.png") == b"jpg"


@pytest.mark.parametrize(
    ("script", "template", "outputs"),
    [
        ('cp "$1" "${2#--out=}"', ("{}", "--out={/.}.png"), {"d/a.png"}),
        ('mkdir r; cp "$1" "$2"', ("{}", "r/{/}"), {"d/r/a.jpg"}),
        ('cp "$1" "$2"', ("{}", "{.}.png"), {"d/a.png"}),
        ('mkdir "$2"; cp "$1" "$2/1"; cp "$1" "$2/2"', ("{}", "{/.}"), {"d/a/1", "d/a/2"}),
        ('cp "$1" "$2"; echo "$2"', ("{}", "{/.}.png"), {"d/a.png"}),
        ("true", ("{}", "{/.}.png"), set()),
        ("true", ("{}", "{//}"), set()),
        ("true", ("/etc/{/.}/../passwd", "{}"), set()),
        ("true", ("{}", f"{'x' * 300}{{/}}"), set()),
    ],
)  # fmt: skip
def test_only_what_is_there_and_is_the_jobs_own_is_an_output(
    make: MakeBench, script: str, template: tuple[str, ...], outputs: set[str]
) -> None:
    bench = make(script, template=template)
    bench.add({"d/a.jpg": b"jpg"})
    bench.run()
    assert bench.result("d/a.jpg").status == "succeeded"
    assert bench.outputs() == outputs


def test_an_environments_file_in_the_commands_words_is_no_output(make: MakeBench) -> None:
    bench = make("true", template=("{}", "data.txt", "tables/{/.}.csv"),
                 files={"tables/a.csv": "1,2"})  # fmt: skip
    bench.add({"a.jpg": b"jpg"})
    bench.run()
    assert bench.outputs() == set()


@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(name=NAMES)
def test_a_hostile_name_is_one_argument(make: MakeBench, name: str) -> None:
    bench = make('printf "%s\\0" "$#" "$1" > shown; echo shown', template=("{}",))
    bench.add({name: b""})
    bench.run()
    [result] = bench.result(name).outputs
    count, path, _ = bench.output(result.key).split(b"\0")
    assert (count, path.rpartition(b"/")[2]) == (b"1", name.rpartition("/")[2].encode())

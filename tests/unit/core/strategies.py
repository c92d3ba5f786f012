"""What hypothesis may draw: keys as they come from outside, and keys that are accepted."""

from __future__ import annotations

from hypothesis import strategies as st

from parallelize_core import keys, layout

_PARTS = st.text(st.characters(exclude_characters="/"), min_size=1, max_size=255)

any_key = st.one_of(
    st.text(),
    st.lists(st.one_of(_PARTS, st.sampled_from([".", "..", "", "~"]))).map("/".join),
    st.text(min_size=1, max_size=4).map(lambda text: (text * 255)[:255] + "/" + text * 250),
)
"""Anything at all, with much that looks like a path and much that is very long."""

accepted_key = (
    st.lists(
        st.text(
            st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"], exclude_characters="/"),
            min_size=1,
            max_size=60,
        ),
        min_size=1,
        max_size=5,
    )
    .map("/".join)
    .filter(lambda key: keys.refusal(key) is None)
)

longest_key = st.text(st.sampled_from("aé~/界"), min_size=1).map(
    lambda text: "/".join(
        [(text.replace("/", "") + "x" * 250).encode()[:255].decode("utf-8", "ignore")] * 4
    )
)
"""Keys of nearly 1,024 bytes."""

run_name = st.from_regex(layout.RUN_NAME, fullmatch=True)

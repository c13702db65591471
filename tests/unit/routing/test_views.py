"""Views leave out one edge each."""

from hypothesis import given
from hypothesis import strategies as st

from shared.routing.deciding.views import EDGE, LEAST, views

words = st.lists(st.text("abcdefg", min_size=1, max_size=5), max_size=60)


@given(words, st.lists(st.text("xyz", min_size=1, max_size=5), min_size=1, max_size=EDGE))
def test_a_gadget_at_one_edge_is_missing_in_a_view_unless_there_are_none(
    prompt: list[str], gadget: list[str]
) -> None:
    for text in (" ".join(gadget + prompt), " ".join(prompt + gadget)):
        found = views(text)
        assert len(found) == (2 if len(text.split()) >= EDGE + LEAST else 0)
        if found:
            assert any(not set("xyz") & set(view) for view in found)
            assert all(len(view.split()) >= LEAST for view in found)

"""Small drawings stay small and well formed."""

from base64 import b64decode
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pages.svg import data_uri, reliability_svg

NAMESPACE = "{http://www.w3.org/2000/svg}"


@given(st.lists(st.tuples(st.floats(0, 1e300), st.floats(0, 1e300)), max_size=30))
def test_a_reliability_drawing_keeps_every_dot_inside_and_fits_three_kilobytes(
    bins: list[tuple[float, float]],
) -> None:
    svg = reliability_svg(bins, title="reliability")
    assert len(svg.encode()) <= 3 * 1024
    dots = ElementTree.fromstring(svg).findall(f".//{NAMESPACE}circle")
    assert len(dots) == len(bins)
    assert all(0 <= float(dot.attrib[axis]) <= 120 for dot in dots for axis in ("cx", "cy"))


def test_a_calibrated_dot_lies_on_the_diagonal() -> None:
    dot = ElementTree.fromstring(reliability_svg([(0.3, 0.3), (1.0, 0.5)], title="t")).find(f".//{NAMESPACE}circle")
    assert dot is not None
    assert float(dot.attrib["cx"]) + float(dot.attrib["cy"]) == pytest.approx(120)


def test_too_many_or_impossible_values_are_refused() -> None:
    with pytest.raises(ValueError, match="zero and more"):
        reliability_svg([(-0.1, 0.2)], title="t")
    with pytest.raises(ValueError, match="at most 30"):
        reliability_svg([(0.1, 0.2)] * 31, title="t")


def test_a_title_is_escaped() -> None:
    svg = reliability_svg([(0.1, 0.1)], title='"><script>')
    assert "<script>" not in svg
    assert ElementTree.fromstring(svg).attrib["aria-label"] == '"><script>'


def test_a_data_uri_holds_the_drawing() -> None:
    svg = reliability_svg([(0.1, 0.2)], title="é")
    kind, body = data_uri(svg).split(",")
    assert kind == "data:image/svg+xml;base64"
    assert b64decode(body).decode() == svg

"""Very small static SVG drawings (at most 3 kB) that Dagster shows in place, as a data URI in markdown."""

from base64 import b64encode
from collections.abc import Sequence
from html import escape
from math import isfinite

_BLUE, _GREY = "#4a86c5", "#8a8f94"  # read on Dagster's light and its dark ground


def reliability_svg(bins: Sequence[tuple[float, float]], *, title: str, size: int = 120) -> str:
    """Observed against predicted, one dot per bin, beside the diagonal of a perfectly calibrated model.

    `bins` are (mean predicted, mean observed), at most 30, in one unit and not negative; both axes run from
    zero to the largest of them. Raises ValueError otherwise.
    """
    if len(bins) > 30:
        raise ValueError(f"reliability_svg draws at most 30 bins, found {len(bins)}: use fewer, larger bins")
    flat = [number for pair in bins for number in pair]
    _require_finite("reliability_svg", flat)
    if min(flat, default=0.0) < 0:
        raise ValueError(f"reliability_svg draws figures of zero and more, found {min(flat)}")
    largest = max(flat, default=0.0) or 1.0
    edge, reach = 4, size - 8
    dots = "".join(
        f'<circle cx="{_short(edge + p / largest * reach)}" cy="{_short(size - edge - o / largest * reach)}" r="3"/>'
        for p, o in bins
    )
    return _drawing(
        title,
        size,
        size,
        f'<path fill="none" stroke="{_GREY}" d="M{edge} {edge}V{size - edge}H{size - edge}"/>'
        f'<path stroke="{_GREY}" stroke-dasharray="3 3" d="M{edge} {size - edge}L{size - edge} {edge}"/>'
        f'<g fill="{_BLUE}">{dots}</g>',
    )


def data_uri(svg: str) -> str:
    """`svg` as an address for `![...](...)` in markdown."""
    return "data:image/svg+xml;base64," + b64encode(svg.encode()).decode("ascii")


def _drawing(title: str, width: int, height: int, body: str) -> str:
    name = escape(title[:120])
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" role="img" aria-label="{name}"><title>{name}</title>{body}</svg>'
    )


def _require_finite(what: str, numbers: Sequence[float]) -> None:
    for place, number in enumerate(numbers):
        if not isfinite(number):
            raise ValueError(f"{what}: value {place + 1} is {number}, expected a finite number")


def _short(number: float) -> str:
    """One decimal, without a trailing zero."""
    return f"{number:.1f}".removesuffix(".0")

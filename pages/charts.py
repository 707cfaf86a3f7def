"""The charts of the review pages: Altair charts drawn once, as static SVG to be placed inside the page."""

import re
from collections.abc import Sequence
from datetime import date
from itertools import accumulate
from typing import Any

import altair as alt
import vl_convert
from markupsafe import Markup

from ml.evaluation import Decile

WIDTH = 600
# Colours are the page's own variables, so that a chart follows the light, dark and print styles.
INK, MUTED, RULE, ACCENT, WARM = "var(--ink)", "var(--muted)", "var(--rule)", "var(--accent)", "var(--warm)"
FONT = "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif"
_LONGEST_LABEL = 46
# 1,500 as "1.5k"; a zero without a prefix, and billions as "bn", for the SI's giga is not a word of money.
_SHORT_NUMBER = "datum.value == 0 ? '0' : replace(format(datum.value, '~s'), 'G', 'bn')"
_MOST_CURVE_POINTS = 240

Row = dict[str, Any]


def stake_curve(
    points: Sequence[tuple[int, float, float]], *, cut: float, budget: float | None, currency: str
) -> Markup:
    """Cumulative value at stake against cumulative cost, best customer first.

    `points` are (customers, cost, value) in the order of the plan, in `currency`; `cut` is the cost at which
    the plan stops, `budget` the most it may cost (None: no budget). Long curves are thinned evenly.
    """
    step = max(1, -(-len(points) // _MOST_CURVE_POINTS))
    kept = list(points[::step])
    if points[-1] != kept[-1]:
        kept.append(points[-1])
    at_cut = max((point for point in points if point[1] <= cut), default=(0, 0.0, 0.0))
    origin = (0, 0.0, 0.0)
    rows: list[Row] = [{"cost": cost, "value": value} for _, cost, value in sorted({origin, at_cut, *kept})]
    inside = [row for row in rows if row["cost"] <= at_cut[1]]
    x = alt.X(
        "cost:Q",
        title=f"cumulative cost, {currency}",
        axis=alt.Axis(labelExpr=_SHORT_NUMBER, tickCount=6, grid=False),
        scale=alt.Scale(domain=[0, max(rows[-1]["cost"], budget or 0.0, cut) or 1.0], nice=False),
    )
    y = alt.Y(
        "value:Q",
        title=f"cumulative value at stake, {currency}",
        axis=alt.Axis(labelExpr=_SHORT_NUMBER, tickCount=5),
        scale=alt.Scale(domainMin=0),
    )
    layers = [
        _chart(inside).mark_area(color=ACCENT, opacity=0.16, line=False).encode(x, y),
        _chart(rows).mark_line(color=ACCENT, strokeWidth=2).encode(x, y),
        _chart([{"cost": at_cut[1], "value": at_cut[2]}])
        .mark_point(color=ACCENT, filled=True, size=70, opacity=1)
        .encode(x, y),
        _chart([{"cost": at_cut[1]}]).mark_rule(color=ACCENT).encode(x),
    ]
    if budget is not None:
        layers.append(_chart([{"cost": budget}]).mark_rule(color=WARM, strokeDash=[5, 4], strokeWidth=1.5).encode(x))
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=250))


def bars(rows: Sequence[tuple[str, float]], *, axis_title: str, label_format: str = ",~r") -> Markup:
    """Horizontal bars in the order given, each with its number; negative values point left in a warm colour."""
    shown: list[Row] = [
        {"order": order, "name": _shortened(name), "value": float(value)} for order, (name, value) in enumerate(rows)
    ]
    lowest, highest = min(row["value"] for row in shown), max(row["value"] for row in shown)
    reach = (max(highest, 0.0) - min(lowest, 0.0)) or 1.0
    domain = [min(lowest, 0.0) - (0.12 * reach if lowest < 0 else 0.0), max(highest, 0.0) + 0.18 * reach]
    # Wide enough for the widest usual system font: the font that will draw the page is not known here.
    label_width = min(320, 24 + 7.3 * max(len(row["name"]) for row in shown))
    # Rows are told apart by their place, not by their text: two shortened names may read alike.
    names = [row["name"] for row in shown]
    y = alt.Y(
        "order:O",
        title=None,
        axis=alt.Axis(
            labelExpr=f"{_javascript_list(names)}[datum.value]",
            ticks=False,
            domain=False,
            labelAlign="left",
            labelPadding=label_width,
            labelLimit=320,
            labelColor=INK,
        ),
    )
    x = alt.X("value:Q", title=axis_title, axis=None, scale=alt.Scale(domain=domain, nice=False))
    colour = alt.condition("datum.value < 0", alt.value(WARM), alt.value(ACCENT))
    base = _chart(shown)
    return _svg(
        alt.layer(
            base.mark_bar(height=13).encode(x, y, color=colour),
            base.transform_filter("datum.value >= 0")
            .mark_text(align="left", dx=5, color=INK, fontSize=12)
            .encode(x, y, text=alt.Text("value:Q", format=label_format)),
            base.transform_filter("datum.value < 0")
            .mark_text(align="right", dx=-5, color=INK, fontSize=12)
            .encode(x, y, text=alt.Text("value:Q", format=label_format)),
        ).properties(width=WIDTH - label_width, height=alt.Step(24))
    )


def by_snapshot(
    rows: Sequence[tuple[date, float, float | None, float | None, float | None]], *, measure: str
) -> Markup:
    """A model's measure per test snapshot with its interval, and the baseline as a hollow mark.

    `rows` are (snapshot date, model, low, high, baseline); an absent interval or baseline is left out.
    """
    shown: list[Row] = [
        {"snapshot": snapshot.isoformat(), "value": value, "low": low, "high": high, "baseline": baseline}
        for snapshot, value, low, high, baseline in rows
    ]
    crowded = len(shown) > 10
    x = alt.X(
        "snapshot:O",
        title="test snapshot",
        axis=alt.Axis(labelAngle=-90 if crowded else 0, ticks=False, labelPadding=6, labelOverlap="greedy"),
        scale=alt.Scale(paddingOuter=0.6),
    )
    y = alt.Y("value:Q", title=measure, scale=alt.Scale(zero=False, padding=12), axis=alt.Axis(tickCount=5))
    base = _chart(shown)
    return _svg(
        alt.layer(
            base.transform_filter("isValid(datum.low)")
            .mark_rule(color=ACCENT, strokeWidth=2)
            .encode(x, alt.Y("low:Q", title=measure), y2="high:Q"),
            base.mark_point(color=ACCENT, filled=True, size=64, opacity=1).encode(x, y),
            base.transform_filter("isValid(datum.baseline)")
            .mark_point(color=WARM, filled=False, size=58, strokeWidth=1.8, shape="diamond", opacity=1)
            .encode(x, alt.Y("baseline:Q", title=measure)),
        ).properties(width=WIDTH, height=210)
    )


def reliability(bins: Sequence[tuple[float, float, int]], *, unit: str) -> Markup:
    """Mean observed against mean predicted per bin; dots grow with the customers, the diagonal is perfect.

    `bins` are (mean predicted, mean observed, customers); `unit` "share" labels the axes in percent.
    """
    shown: list[Row] = [{"predicted": p, "observed": o, "customers": n} for p, o, n in bins]
    highest = max(max(row["predicted"], row["observed"]) for row in shown)
    domain = [min(0.0, *(min(row["predicted"], row["observed"]) for row in shown)), highest * 1.05 or 1.0]
    title = "" if unit in ("share", "") else f", {unit}"
    axis = alt.Axis(format="~%", tickCount=5) if unit == "share" else alt.Axis(labelExpr=_SHORT_NUMBER, tickCount=5)
    x = alt.X("predicted:Q", title=f"predicted{title}", axis=axis, scale=alt.Scale(domain=domain))
    y = alt.Y("observed:Q", title=f"observed{title}", axis=axis, scale=alt.Scale(domain=domain))
    diagonal: list[Row] = [{"predicted": end, "observed": end} for end in domain]
    return _svg(
        alt.layer(
            _chart(diagonal).mark_line(color=MUTED, strokeDash=[4, 4], strokeWidth=1).encode(x, y),
            _chart(shown).mark_line(color=ACCENT, strokeWidth=1, opacity=0.5).encode(x, y),
            _chart(shown)
            .mark_point(color=ACCENT, filled=True, opacity=0.85)
            .encode(x, y, size=alt.Size("customers:Q", legend=None, scale=alt.Scale(range=[30, 220]))),
        ).properties(width=330, height=330)
    )


def tracking(rows: Sequence[tuple[date, float, float | None, float | None]]) -> Markup:
    """Actual purchases per week, and what was expected of those after the cut-off.

    `rows` are (last day of the week, actual, forecast, reference); the expected ones are None before the
    cut-off, which a line marks.
    """
    shown: list[Row] = [
        {"week": day.isoformat(), "actual": actual, "forecast": forecast, "reference": reference}
        for day, actual, forecast, reference in rows
    ]
    x = alt.X("week:T", title="week", axis=alt.Axis(format="%b %Y", tickCount=6, grid=False))
    axis = alt.Axis(labelExpr=_SHORT_NUMBER, tickCount=5)
    title = "purchase days per week"
    layers = [
        _chart(shown).mark_line(color=ACCENT, strokeWidth=1.5).encode(x, alt.Y("actual:Q", title=title, axis=axis))
    ]
    expected = [row for row in shown if row["forecast"] is not None]
    for name, dash in (("reference", [2, 3]), ("forecast", [6, 3])):
        line = _chart(expected).mark_line(color=MUTED if name == "reference" else WARM, strokeDash=dash, strokeWidth=2)
        layers.append(line.encode(x, alt.Y(f"{name}:Q", title=title, axis=axis)))
    known = [row["week"] for row in shown if row["forecast"] is None]
    if known:
        layers.append(_chart([{"week": known[-1]}]).mark_rule(color=RULE, strokeWidth=1.5).encode(x))
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=230))


def gains(tenths: Sequence[Decile], *, found_of: str) -> Markup:
    """Share of all lapses (or of all spend) found among the share of customers with the highest predictions.

    `tenths` are those of `ml.evaluation.deciles`; the diagonal is drawing by lot.
    """
    seen = list(accumulate((tenth.n for tenth in tenths), initial=0))
    found = [0.0, *(tenth.captured for tenth in tenths)]
    shown: list[Row] = [{"customers": n / seen[-1], "found": share} for n, share in zip(seen, found, strict=True)]
    axis = alt.Axis(format="~%", tickCount=5)
    x = alt.X("customers:Q", title="customers, highest prediction first", axis=axis, scale=alt.Scale(domain=[0, 1]))
    highest = max(1.0, *(row["found"] for row in shown))
    y = alt.Y("found:Q", title=f"share of {found_of}", axis=axis, scale=alt.Scale(domain=[0, highest], nice=False))
    by_lot: list[Row] = [{"customers": 0.0, "found": 0.0}, {"customers": 1.0, "found": 1.0}]
    return _svg(
        alt.layer(
            _chart(by_lot).mark_line(color=MUTED, strokeDash=[4, 4], strokeWidth=1).encode(x, y),
            _chart(shown).mark_line(color=ACCENT, strokeWidth=2).encode(x, y),
            _chart(shown).mark_point(color=ACCENT, filled=True, size=36, opacity=1).encode(x, y),
        ).properties(width=330, height=260)
    )


def profit(points: Sequence[tuple[float, float]], *, best: float, rule: float, unit: str) -> Markup:
    """Money earned by the share of customers contacted, the highest predictions first.

    `points` are (share, money in `unit`); `best` and `rule` are shares marked by a line.
    """
    step = max(1, -(-len(points) // _MOST_CURVE_POINTS))
    kept = sorted({*points[::step], points[-1]})
    shown: list[Row] = [{"customers": share, "money": money} for share, money in kept]
    x = alt.X(
        "customers:Q",
        title="customers contacted, highest prediction first",
        axis=alt.Axis(format="~%", tickCount=5, grid=False),
        scale=alt.Scale(domain=[0, 1]),
    )
    y = alt.Y("money:Q", title=f"earned{f', {unit}' if unit else ''}", axis=alt.Axis(labelExpr=_SHORT_NUMBER))
    return _svg(
        alt.layer(
            _chart([{"money": 0.0}]).mark_rule(color=MUTED).encode(y),
            _chart(shown).mark_line(color=ACCENT, strokeWidth=2).encode(x, y),
            _chart([{"customers": rule}]).mark_rule(color=WARM, strokeDash=[5, 4], strokeWidth=1.5).encode(x),
            _chart([{"customers": best}]).mark_rule(color=ACCENT).encode(x),
        ).properties(width=WIDTH, height=220)
    )


def tiers_over_time(
    rows: Sequence[tuple[date, str, float]],
    *,
    tiers: Sequence[str],
    axis_title: str,
    reference: Sequence[tuple[date, float]] = (),
) -> Markup:
    """Stacked areas by day, the first of three `tiers` at the bottom, and a dashed line to compare with.

    `rows` are (day, tier, value) of at least two days; a tier without a row on a day has nothing there. Long
    histories are thinned evenly.
    """
    days = sorted({day for day, _, _ in rows})
    step = -(-len(days) // _MOST_CURVE_POINTS)
    kept = sorted({*days[::step], days[-1]})
    ticks = sorted({kept[round(place * (len(kept) - 1) / 4)] for place in range(5)})
    values = {(day, tier): value for day, tier, value in rows}
    used = [tier for tier in tiers if any(tier == found for _, found, _ in rows)]
    shown: list[Row] = [
        {"day": day.isoformat(), "tier": tier, "order": order, "value": values.get((day, tier), 0.0)}
        for day in kept
        for order, tier in enumerate(used)
    ]
    beside: list[Row] = [{"day": day.isoformat(), "value": value} for day, value in reference if day in set(kept)]
    x = alt.X(
        "day:T",
        title=None,
        scale=alt.Scale(type="utc", nice=False),
        axis=alt.Axis(
            format="%-d %b %Y",
            values=[alt.DateTime(year=day.year, month=day.month, date=day.day, utc=True) for day in ticks],
            grid=False,
        ),
    )
    highest = max(sum(values.get((day, tier), 0.0) for tier in used) for day in kept)
    highest = max(highest, *(row["value"] for row in beside), 0.0)
    # Below a thousand in full: "0.0005", not "500µ".
    labels = _SHORT_NUMBER if highest >= 1000 else "format(datum.value, ',~r')"
    axis = alt.Axis(labelExpr=labels, tickCount=5)
    y = alt.Y("value:Q", title=axis_title, axis=axis, scale=alt.Scale(domainMin=0))
    # Vivid is where data costs most: one colour, paler when cool, and grey in the archive.
    look: dict[str, tuple[str, float]] = dict(zip(tiers, ((ACCENT, 0.9), (ACCENT, 0.4), (MUTED, 0.5)), strict=True))
    legend = alt.Legend(orient="top", title=None, labelColor=INK, labelFontSize=12, symbolType="square")
    colour = alt.Color(
        "tier:N", sort=used, scale=alt.Scale(domain=used, range=[look[tier][0] for tier in used]), legend=legend
    )
    opacity = alt.Opacity(
        "tier:N", sort=used, scale=alt.Scale(domain=used, range=[look[tier][1] for tier in used]), legend=legend
    )
    layers = [_chart(shown).mark_area(line=False).encode(x, y.stack("zero"), colour, opacity, order="order:O")]
    if beside:
        layers.append(_chart(beside).mark_line(color=WARM, strokeDash=[5, 4], strokeWidth=1.5).encode(x, y))
    return _svg(alt.layer(*layers).properties(width=WIDTH, height=210))


def _chart(rows: Sequence[Row]) -> alt.Chart:
    return alt.Chart(alt.Data(values=list(rows)))


def _shortened(text: str) -> str:
    """One line of at most `_LONGEST_LABEL` characters, without characters that XML cannot hold."""
    line = " ".join(re.sub(r"[\x00-\x1f\x7f\ud800-\udfff\ufffe\uffff]", " ", text).split())
    return line if len(line) <= _LONGEST_LABEL else line[: _LONGEST_LABEL - 1].rstrip() + "…"


def _javascript_list(texts: Sequence[str]) -> str:
    """A Vega expression holding `texts` as string literals, every character outside words escaped."""

    def literal(text: str) -> str:
        utf16 = text.encode("utf-16-be")
        units = (int.from_bytes(utf16[i : i + 2], "big") for i in range(0, len(utf16), 2))
        return "'" + "".join(f"\\u{unit:04x}" for unit in units) + "'"

    return "[" + ",".join(literal(text) for text in texts) + "]"


def _svg(chart: alt.TopLevelMixin) -> Markup:
    styled = chart.configure(
        background="transparent",
        font=FONT,
        padding=4,
        view=alt.ViewConfig(stroke=None),
        axis=alt.AxisConfig(
            labelColor=MUTED,
            labelFontSize=12,
            titleColor=MUTED,
            titleFontSize=12,
            titleFontWeight="normal",
            titlePadding=10,
            gridColor=RULE,
            domainColor=RULE,
            tickColor=RULE,
        ),
    )
    svg = vl_convert.vegalite_to_svg(styled.to_json(), vl_version="v6.1", show_warnings=False)
    # Inside HTML the namespaces are implied, and the page's style names the font once.
    svg = re.sub(r' (xmlns(:\w+)?|font-family)="[^"]*"', "", svg)
    return Markup(svg)

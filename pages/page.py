"""Fills a template of `pages/templates` and returns one HTML file without scripts or outside addresses."""

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from pages import formats


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        amount=formats.amount,
        count=formats.count,
        counted=formats.counted,
        day=formats.day,
        in_hundred=formats.in_hundred,
        instant=formats.instant,
        listed=formats.listed,
        money=formats.money,
        month=formats.month,
        number=formats.number,
        percent=formats.percent,
        quantity=formats.quantity,
        round_money=formats.round_money,
        sentence=formats.sentence,
    )
    environment.globals["interval"] = formats.interval
    return environment


def render(template: str, **values: Any) -> str:
    """The text of `template` with `values`; every value is escaped unless it is a `markupsafe.Markup`."""
    return _environment().get_template(template).render(**values)

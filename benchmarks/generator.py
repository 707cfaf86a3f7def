"""Deliveries of an invented web shop at any size: the same seed and scale give the same rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import duckdb

FIRST_DAY = date(2023, 1, 1)  # a Sunday
WEEKS = 104
LAST_DAY = FIRST_DAY + timedelta(weeks=WEEKS) - timedelta(days=1)  # UTC; its last hour is the next local day
ZONE = "Europe/Berlin"

# at scale 1: about 0.63 M order lines and 3.1 M events, so that 16 is 10 M and 50 M
CUSTOMERS = 62_500
EVENTS = 3_125_000
PRODUCTS = 5_000

_ORDERS_A_WEEK = 0.083  # mean of the customers' gamma rates
_LIFE_WEEKS = 60  # mean of the exponential lives
_SECONDS_A_WEEK = 7 * 86_400


@dataclass(frozen=True)
class Delivered:
    """How many rows of each source were written."""

    customers: int
    order_lines: int
    events: int


def generate(landing: Path, *, scale: float, seed: int = 1) -> Delivered:
    """Write ``customers``, ``orders`` and ``events`` below ``landing``, as Parquet files of a quarter each.

    Purchases follow the model of Fader, Hardie and Lee (2005, "Counting your customers the easy way") in
    continuous time: gamma rates (shape 2), Poisson orders, exponential lives. An order has one line or
    more; one in a hundred is a refund. 40 % of the events are of a device whose customer has not logged in.
    All instants are UTC, in two years from :data:`FIRST_DAY`; money is in euro and cents.
    """
    quarters = _quarters()
    con = duckdb.connect(":memory:")
    try:
        con.execute("SET enable_progress_bar = false")
        con.execute(
            f"""CREATE MACRO chance(stream, a, b) AS
            ((hash({seed} || stream || ':' || a || ':' || b) >> 11)::DOUBLE + 0.5) / 9007199254740992.0"""
        )
        customers, events = round(CUSTOMERS * scale), round(EVENTS * scale)
        con.execute(_customers(customers))
        con.execute(_order_lines())
        _write(con, "SELECT customer_id, email, registered_at FROM customers", landing / "customers" / "all.parquet")
        for number, (begin, end) in enumerate(quarters):
            lines = f"SELECT * FROM order_lines WHERE ordered_at >= '{begin}' AND ordered_at < '{end}' ORDER BY ALL"
            _write(con, lines, landing / "orders" / f"{begin}.parquet")
            first, last = (events * n // len(quarters) for n in (number, number + 1))
            _write(con, _events(first, last, begin, end, customers), landing / "events" / f"{begin}.parquet")
        found = con.execute("SELECT count(*) FROM order_lines").fetchone()
        assert found is not None
        return Delivered(customers, int(found[0]), events)
    finally:
        con.close()


def _quarters() -> list[tuple[date, date]]:
    end = LAST_DAY + timedelta(days=1)
    firsts = (date(year, month, 1) for year in range(FIRST_DAY.year, end.year + 1) for month in (1, 4, 7, 10))
    begins = [day for day in firsts if FIRST_DAY <= day < end]
    return list(zip(begins, [*begins[1:], end], strict=True))


def _write(con: duckdb.DuckDBPyConnection, query: str, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    con.execute(f"COPY ({query}) TO '{path}' (FORMAT parquet, COMPRESSION zstd)")


def _customers(count: int) -> str:
    span = WEEKS * _SECONDS_A_WEEK
    rate = _ORDERS_A_WEEK / 2 / _SECONDS_A_WEEK
    return f"""
    CREATE TEMP TABLE customers AS
    SELECT n,
        'C' || lpad(n::VARCHAR, 9, '0') AS customer_id,
        'c' || n || '@example.org' AS email,
        TIMESTAMP '{FIRST_DAY}' + to_seconds(begins) AS registered_at,
        begins, rate,
        least({span}, begins + (-ln(chance('life', n, 0)) * {_LIFE_WEEKS * _SECONDS_A_WEEK})::BIGINT) AS ends
    FROM (
        SELECT range AS n,
            (chance('begins', range, 0) * {span * 3 // 4})::BIGINT AS begins,
            -ln(chance('rate', range, 0) * chance('rate', range, 1)) * {rate} AS rate
        FROM range({count})
    )
    """


def _order_lines() -> str:
    # gaps are whole seconds, so that their running sum is exact on any number of threads; the number of
    # candidate orders leaves hardly any life (4 standard deviations) without its last ones
    return f"""
    CREATE TEMP TABLE order_lines AS
    WITH candidates AS (
        SELECT n, customer_id, begins, ends, rate, unnest(range(
            ceil(rate * (ends - begins) + 4 * sqrt(rate * (ends - begins)) + 3)::BIGINT)) AS k
        FROM customers
    ), orders AS (
        SELECT n, customer_id, k, ends, begins + coalesce(sum((-ln(chance('gap', n, k)) / rate)::BIGINT) OVER
            (PARTITION BY n ORDER BY k ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS placed
        FROM candidates
    ), lines AS (
        SELECT *, n || '-' || k AS order_id,
            unnest(range(1, 2 + floor(-ln(chance('lines', n, k)) * 2.0)::BIGINT)) AS line,
            chance('refund', n, k) < 0.01 AS refund
        FROM orders WHERE placed < ends
    ), priced AS (
        SELECT *,
            floor(chance('product', order_id, line) ** 3 * {PRODUCTS})::BIGINT AS product,
            1 + floor(chance('quantity', order_id, line) ** 4 * 5)::INTEGER AS quantity,
            if(chance('sale', order_id, line) < 0.2, 15, 0) AS percent_off
        FROM lines
    ), amounts AS (
        SELECT *, quantity * (99 + floor(exp(5 + 3 * chance('price', product, 0))))::BIGINT AS cents FROM priced
    )
    SELECT customer_id, order_id, line::INTEGER AS line,
        TIMESTAMP '{FIRST_DAY}' + to_seconds(placed::BIGINT) AS ordered_at,
        'P' || product AS product_id, quantity,
        (if(refund, -1, 1) * cents * DECIMAL '0.01')::DECIMAL(18, 2) AS gross,
        (if(refund, -1, 1) * (cents * percent_off // 100) * DECIMAL '0.01')::DECIMAL(18, 2) AS discount
    FROM amounts
    """


def _events(first: int, last: int, begin: date, end: date, customers: int) -> str:
    seconds = (end - begin).days * 86_400
    return f"""
    WITH visits AS (
        SELECT range AS n, floor(chance('device', range, 0) ** 1.5 * {2 * customers})::BIGINT AS device,
            chance('type', range, 0) AS kind
        FROM range({first}, {last})
    )
    SELECT 'E' || lpad(n::VARCHAR, 10, '0') AS event_id,
        'D' || device AS device_id,
        if(chance('login', n, 0) < 0.6, 'C' || lpad((device // 2)::VARCHAR, 9, '0'), NULL) AS customer_id,
        TIMESTAMP '{begin}' + to_seconds((chance('at', n, 0) * {seconds - 1})::BIGINT) AS sent_at,
        CASE WHEN kind < 0.8 THEN 'view' WHEN kind < 0.95 THEN 'cart' ELSE 'checkout' END AS type,
        '{{"product": "P' || floor(chance('seen', n, 0) ** 3 * {PRODUCTS})::BIGINT || '"}}' AS properties
    FROM visits
    """

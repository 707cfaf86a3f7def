"""What is sent to Athena is a SELECT, or an INSERT into staging, in forms that Athena documents; nothing else is."""

from __future__ import annotations

import ibis
import pytest

from resources.engines.builtins import local_time, sha256, utc_time
from resources.engines.dialect import DIALECT, NoRows, Relation, compiled, insert_of, placed, within
from resources.engines.statements import LONGEST, StatementRefused, allowed
from tests.resources.visits import FIRST, VISITS

VISITS_TABLE = ibis.table(VISITS.schema(), name="visits__0")


def sent(expression: ibis.Expr) -> str:
    """The text of an expression over ``visits``, as it would be sent."""
    query = placed(compiled(expression), {"visits__0": Relation("shop", "visits", 42)}, "awsdatacatalog")
    return query.sql(dialect=DIALECT)


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT 1",
        "WITH a AS (SELECT x FROM shop.t) SELECT a.x FROM a JOIN a AS b ON a.x = b.x ORDER BY 1 LIMIT 5",
        "SELECT x FROM shop.t UNION ALL SELECT x FROM shop.u",
        "SELECT SUM(x) OVER (PARTITION BY y ORDER BY z ROWS BETWEEN UNBOUNDED PRECEDING AND CURRENT ROW) FROM shop.t",
        "SELECT CASE WHEN x IN (1, 2) THEN 'a' ELSE NULL END FROM shop.t WHERE NOT EXISTS(SELECT 1 FROM shop.u)",
        'SELECT "x" FROM "awsdatacatalog"."shop"."t" FOR VERSION AS OF 42',
        "SELECT COUNT(*) FILTER(WHERE x > 1) FROM (VALUES (1), (2)) AS t(x)",
        'INSERT INTO "awsdatacatalog"."shop_staging"."t" ("x") SELECT CAST(x AS DECIMAL(18, 4)) FROM shop.t',
        "SELECT lower(to_hex(sha256(to_utf8(x)))) FROM shop.t",
    ],
)
def test_what_we_compile_to_passes_unchanged(sql: str) -> None:
    assert allowed(sql, insert_into="shop_staging") == sql


def test_expressions_of_the_product_pass() -> None:
    t = VISITS_TABLE
    ranked = t.mutate(first=ibis.row_number().over(group_by=t.person, order_by=t.day), n=t.spent.sum().over())
    for expression in (
        t.group_by("day").aggregate(n=t.count(), spent=t.spent.sum(), people=t.person.nunique()),
        ranked.filter(ranked["first"] == 0),
        t.select(key=sha256(t.person), local=local_time(t.day.cast("timestamp(6)"), ibis.literal("Europe/Berlin"))),
        t.select(at=utc_time(t.day.cast("timestamp(6)"), ibis.literal("Europe/Berlin"))),
        t.filter(t.day.between(FIRST, FIRST), t.person.isin(["a", "b"]) | t.person.isnull()).distinct(),
        t.left_join(t.view(), "day").select("visit", "person_right"),
        t.order_by(t.spent.desc()).limit(5),
        ibis.union(t, t, distinct=True),
    ):
        assert "FOR VERSION AS OF 42" in allowed(sent(expression), insert_into="shop_staging")


def test_an_insert_and_its_parts_pass_into_staging_alone() -> None:
    query = placed(compiled(VISITS_TABLE), {"visits__0": NoRows(VISITS)}, "c")
    part = within(query, [{"day": FIRST}, {"day": None}], {"day": "date"})
    sql = insert_of(VISITS, part, Relation("shop_staging", "shadow"), "c").sql(dialect=DIALECT)
    assert allowed(sql, insert_into="shop_staging") == sql
    with pytest.raises(StatementRefused, match="an INSERT may write to database other_staging only"):
        allowed(sql, insert_into="other_staging")


@pytest.mark.parametrize(
    ("sql", "told"),
    [
        ("DROP TABLE shop.t", "all that is sent"),
        ("CREATE TABLE shop.t AS SELECT 1 AS x", "all that is sent"),
        ("CREATE VIEW shop.v AS SELECT 1 AS x", "all that is sent"),
        ("ALTER TABLE shop.t ADD COLUMN x int", "all that is sent"),
        ("DELETE FROM shop_staging.t", "all that is sent"),
        ("UPDATE shop_staging.t SET x = 1", "all that is sent"),
        ("MERGE INTO shop_staging.t USING u ON t.x = u.x WHEN MATCHED THEN DELETE", "all that is sent"),
        ("TRUNCATE TABLE shop_staging.t", "all that is sent"),
        ("SHOW TABLES", "all that is sent|cannot be parsed"),
        ("VACUUM shop.t", "all that is sent|cannot be parsed"),
        ("OPTIMIZE shop.t REWRITE DATA USING BIN_PACK", "all that is sent|cannot be parsed"),
        ("UNLOAD (SELECT 1) TO 's3://other/' WITH (format = 'PARQUET')", "all that is sent|cannot be parsed"),
        ("CALL system.drop('t')", "all that is sent|cannot be parsed"),
        ("EXPLAIN ANALYZE SELECT 1", "all that is sent|cannot be parsed"),
        ("GRANT SELECT ON shop.t TO you", "all that is sent|cannot be parsed"),
        ("USING EXTERNAL FUNCTION f(x int) RETURNS int LAMBDA 'f' SELECT f(1)", "all that is sent|cannot be parsed"),
        ("SELECT 1; SELECT 2", "all that is sent"),
        ("SELECT 1; DROP TABLE shop.t", "all that is sent"),
        ("", "all that is sent"),
        ("SELECT FROM WHERE (", "cannot be parsed"),
        ("INSERT INTO shop.t SELECT 1", "may write to database shop_staging only"),
        ("INSERT INTO t SELECT 1", "may write to database shop_staging only"),
        ("INSERT INTO shop.t SELECT x FROM shop_staging.t", "may write to database shop_staging only"),
        ("INSERT INTO shop.t (x) TABLE shop_staging.t", "may write to database shop_staging only|cannot be parsed"),
        ("INSERT INTO shop.t WITH a AS (TABLE shop_staging.u) SELECT 1", "may write to database|cannot be parsed"),
        ("INSERT OVERWRITE shop_staging.t SELECT 1", "INSERT|cannot be parsed"),
        ("SELECT sleep(5)", "function sleep"),
        ("SELECT my_lambda(x) FROM shop.t", "function my_lambda"),
        ("SELECT current_user", "function current_user|form"),
        ("SELECT * FROM TABLE(system.query(query => 'DROP TABLE t'))", "function|form|cannot be parsed"),
        ("SELECT x FROM shop.t TABLESAMPLE BERNOULLI (10)", "form TableSample"),
        ("SELECT x FROM shop.t MATCH_RECOGNIZE (PATTERN (A) DEFINE A AS TRUE)", "form|function|cannot be parsed"),
    ],
)  # fmt: skip
def test_anything_else_is_refused_by_its_form(sql: str, told: str) -> None:
    with pytest.raises(StatementRefused, match=told):
        allowed(sql, insert_into="shop_staging")


def test_a_statement_longer_than_athena_takes_is_refused_by_its_bytes() -> None:
    fits = f"SELECT '{'ä' * ((LONGEST - 9) // 2)}'"
    assert allowed(fits, insert_into="s") == fits
    with pytest.raises(StatementRefused, match=r"has 262,1\d\d bytes, more than the 262,144 that Athena takes"):
        allowed(fits.replace("SELECT", "SELECT   "), insert_into="s")

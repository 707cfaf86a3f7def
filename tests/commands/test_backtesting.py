"""`cdap backtest` as a newcomer runs it, on the CDNOW 1/10 sample and on files that are wrong."""

import csv
import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from cdap_assets.cli import app
from cdap_assets.commands.order_file import OrderFileError, read_orders
from tests.examples import examples
from tests.ml.cdnow import purchase_days

COLUMNS = "customer_id,p_purchase,expected_purchases,median_purchases,expected_spend,median_spend,spend_low,spend_high"


def write_csv(path: Path, header: list[str], rows: list[list[object]], delimiter: str = ",") -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, delimiter=delimiter)
        writer.writerow(header)
        writer.writerows(rows)
    return path


@pytest.fixture(scope="module")
def orders() -> pd.DataFrame:
    days = purchase_days()
    days = days[days["customer_id"].isin(sorted(days["customer_id"].unique())[::2])]
    return days.assign(date=days["day"].dt.strftime("%Y-%m-%d"))


def backtest(folder: Path, source: Path, *more: str, calibration: str = "1997-09-30", holdout: str = "1998-06-30"):
    arguments = ["backtest", str(source), "--calibration-end", calibration, "--holdout-end", holdout]
    return CliRunner().invoke(app, [*arguments, "--output", str(folder / "predictions.csv"), *more])


def test_a_log_is_forecast_scored_and_reported_in_one_command(tmp_path: Path, orders: pd.DataFrame) -> None:
    source = tmp_path / "orders.csv"
    orders.rename(columns={"spend": "amount"})[["customer_id", "date", "amount"]].to_csv(source, index=False)
    done = backtest(tmp_path, source, "--report", str(tmp_path / "report.html"))
    assert done.exit_code == 0, done.output
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == COLUMNS
    written = pd.read_csv(tmp_path / "predictions.csv", dtype={"customer_id": str})
    assert len(written) == orders.loc[orders["date"] <= "1997-09-30", "customer_id"].nunique()
    assert written.notna().all().all()
    page = (tmp_path / "report.html").read_text()
    assert "What to trust, and what not" in page
    assert "BG/NBD" in page
    assert "<script" not in page
    assert not re.search(r"https?:|//[a-z]|@import", page.replace("http://www.w3.org", ""))
    assert not list(tmp_path.glob("*.partial"))


def test_own_column_names_parquet_and_no_amount_are_enough(tmp_path: Path, orders: pd.DataFrame) -> None:
    source = tmp_path / "orders.parquet"
    orders.assign(bought=orders["day"].dt.tz_localize("America/New_York"))[["customer_id", "bought"]].rename(
        columns={"customer_id": "who"}
    ).to_parquet(source)
    done = backtest(tmp_path, source, "--customer", "who", "--date", "bought", holdout="1997-12-31")
    assert done.exit_code == 0, done.output
    assert "without spend" in done.output
    written = pd.read_csv(tmp_path / "predictions.csv")
    assert written["expected_purchases"].notna().all()
    assert written["expected_spend"].isna().all()


def test_a_holdout_that_the_log_does_not_hold_is_forecast_but_not_scored(tmp_path: Path, orders: pd.DataFrame) -> None:
    source = tmp_path / "orders.csv"
    known = orders[orders["date"] <= "1997-10-31"]
    known[["customer_id", "date"]].to_csv(source, index=False)
    done = backtest(tmp_path, source, calibration="1997-06-30", holdout="1997-12-31")
    assert done.exit_code == 0, done.output
    assert "not scored: the last order is on 1997-10-31" in " ".join(done.output.split())
    assert (tmp_path / "predictions.csv").exists()


ROW = ["c1", "1997-01-05", "10.00"]


@pytest.mark.parametrize(
    ("rows", "told"),
    [
        ([ROW, ["c2", "05/31/1997", "1"]], "row 3, column date: expected a date as YYYY-MM-DD, found '05/31/1997'"),
        ([ROW, ["c2", "1997-02-30", "1"]], "row 3, column date"),
        ([["", "1997-01-05", "1"], ROW], "row 2, column customer_id: expected a customer id, found nothing"),
        ([ROW, ROW, ["c3", "1997-01-09", "$ 5"]], "row 4, column amount: expected an amount such as 12.34"),
        ([ROW, ["c3", "1997-01-09", "inf"]], "row 3, column amount"),
        ([], "holds no row below its header"),
        ([["c1", "1997-01-09", "-5"]], "every amount is negative"),
        ([ROW] * 5, "everybody would seem to have stopped buying. Use --calibration-end 1997-01-05"),
    ],
)
def test_a_wrong_row_is_named_with_its_column_and_what_to_do(tmp_path: Path, rows: list, told: str) -> None:
    source = write_csv(tmp_path / "orders.csv", ["customer_id", "date", "amount"], rows)
    done = backtest(tmp_path, source)
    assert done.exit_code == 1
    assert told in " ".join(done.output.split())
    assert not (tmp_path / "predictions.csv").exists()


def test_a_missing_column_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "orders.csv", ["who", "date", "total"], [ROW])
    done = backtest(tmp_path, source, "--amount", "money")
    assert "has no column customer_id, money; it has who, date, total" in " ".join(done.output.split())


def test_a_base_too_small_to_forecast_is_refused_and_an_earlier_output_stays(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text("earlier")
    source = write_csv(tmp_path / "orders.csv", ["customer_id", "date", "amount"], [ROW])
    done = backtest(tmp_path, source, calibration="1997-01-06", holdout="1997-02-01")
    assert done.exit_code == 1
    assert "not enough data: 1 customers" in " ".join(done.output.split())
    assert (tmp_path / "predictions.csv").read_text() == "earlier"


def test_a_holdout_before_the_calibration_end_is_refused(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "orders.csv", ["customer_id", "date", "amount"], [ROW])
    done = backtest(tmp_path, source, holdout="1997-09-30")
    assert "--holdout-end 1997-09-30 must be after --calibration-end 1997-09-30" in " ".join(done.output.split())


def test_semicolons_byte_order_marks_and_named_date_formats_are_read(tmp_path: Path) -> None:
    source = tmp_path / "orders.csv"
    source.write_text("﻿customer_id;date;amount\n007;31/05/1997;3.5\n007;31/05/1997;1.5\n8;01/06/1997;-2\n", "utf-8")
    read = read_orders(source, customer="customer_id", date="date", amount="amount", date_format="%d/%m/%Y")
    assert read.log.customers.tolist() == ["007"]
    assert read.log.spend is not None
    assert read.log.spend.tolist() == [5.0]
    assert read.returns == 1


def test_the_day_is_the_one_written_whatever_the_offset(tmp_path: Path) -> None:
    rows = [["a", "1997-01-05T23:30:00-05:00", "1"], ["a", "1997-01-06 00:10:00+14:00", "1"], ["a", "19970107", "1"]]
    source = write_csv(tmp_path / "orders.csv", ["customer_id", "date", "amount"], rows)
    read = read_orders(source, customer="customer_id", date="date", amount="amount")
    assert (read.log.day - read.log.day[0]).tolist() == [0, 1, 2]


@examples(40)
@given(
    st.lists(
        st.tuples(st.text(min_size=1, max_size=5), st.text(max_size=12), st.text(max_size=8)), min_size=1, max_size=6
    )
)
def test_any_text_is_either_read_or_refused_by_name(tmp_path_factory, rows: list) -> None:
    source = write_csv(
        tmp_path_factory.mktemp("any") / "orders.csv",
        ["customer_id", "date", "amount"],
        [["".join(c for c in cell if c.isprintable()) for cell in row] for row in rows],
    )
    try:
        read = read_orders(source, customer="customer_id", date="date", amount="amount")
    except OrderFileError as error:
        named = str(error).startswith(str(source))
    else:
        named = read.rows == len(rows)
    assert named


def test_the_input_is_never_written_over(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "predictions.csv", ["customer_id", "date", "amount"], [ROW])
    before = source.read_text()
    done = backtest(tmp_path, source)
    assert done.exit_code == 1
    assert "must be different files" in " ".join(done.output.split())
    assert source.read_text() == before


def test_a_holdout_without_money_is_scored_on_its_purchases(tmp_path: Path, orders: pd.DataFrame) -> None:
    source = tmp_path / "orders.csv"
    paid = orders["spend"].where(orders["date"] <= "1997-09-30", 0.0)
    orders.assign(amount=paid)[["customer_id", "date", "amount"]].to_csv(source, index=False)
    done = backtest(tmp_path, source, "--report", str(tmp_path / "report.html"), holdout="1997-12-31")
    assert done.exit_code == 0, done.output
    assert "Log loss" in done.output
    assert "Gini" not in done.output
    assert "nan" not in (tmp_path / "report.html").read_text().lower()


def test_one_stray_date_does_not_make_a_holdout_whole(tmp_path: Path, orders: pd.DataFrame) -> None:
    known = orders.loc[orders["date"] <= "1997-08-31", ["customer_id", "date"]]
    stray = pd.DataFrame({"customer_id": [known["customer_id"].iloc[0]], "date": ["2099-01-01"]})
    source = tmp_path / "orders.csv"
    pd.concat([known, stray]).to_csv(source, index=False)
    done = backtest(tmp_path, source, calibration="1997-06-30", holdout="1997-12-31")
    assert "not scored: the last order is on 1997-08-31" in " ".join(done.output.split())


def test_a_date_format_with_an_offset_keeps_the_day_as_written(tmp_path: Path) -> None:
    source = write_csv(tmp_path / "orders.csv", ["customer_id", "date"], [["a", "2020-01-02 00:30:00+0200"]])
    read = read_orders(source, customer="customer_id", date="date", amount=None, date_format="%Y-%m-%d %H:%M:%S%z")
    assert str(read.log.day.astype("datetime64[D]")[0]) == "2020-01-02"
    with pytest.raises(OrderFileError, match="--date-format %Q cannot be used"):
        read_orders(source, customer="customer_id", date="date", amount=None, date_format="%Q")


def test_a_blank_line_does_not_move_the_row_that_is_named(tmp_path: Path) -> None:
    source = tmp_path / "orders.csv"
    source.write_text("customer_id,date\na,2020-01-01\n\nb,soon\n\n")
    with pytest.raises(OrderFileError, match="row 4, column date"):
        read_orders(source, customer="customer_id", date="date", amount=None)

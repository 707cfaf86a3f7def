"""The asset ``lifetime_value_model``: fitted on the newest snapshot, registered with its evidence for review."""

from datetime import date
from typing import TYPE_CHECKING

from cdap_assets.features.customer_features import CUSTOMER_FEATURES
from cdap_assets.features.labels import VALUE_HORIZON, VALUE_LABELS
from cdap_assets.models.candidate import (
    ModelRecipe,
    ReviewContext,
    interval_metrics,
    learn_intervals,
    made_up_customer,
)
from cdap_assets.models.comparison import Incumbent, compare_value
from cdap_assets.models.lifetime_value_model import NAME, VERSION
from cdap_assets.models.lifetime_value_model.judging import (
    COLUMNS,
    GATES,
    RESAMPLES,
    SEED,
    ValueCandidate,
    fit,
    gates,
    leak_gates,
    out_of_time,
    segments_of,
)
from cdap_assets.models.model_asset import model_asset
from cdap_assets.models.purpose import Selection
from cdap_assets.models.training import customers_at, value_frame
from resources.lake.session import Session

if TYPE_CHECKING:
    from ml.protocol import OutOfTime, ValueFigures


def train(session: Session, as_of: date | None, selection: Selection, incumbent: Incumbent | None) -> ValueCandidate:
    """Test out of time, fit on the newest snapshot that the session reads, and gather the evidence.

    Raises ``TooLittleHistory`` and ``PurposeRefused``.
    """
    selection.require(COLUMNS, NAME)
    frame = value_frame(session, as_of)
    days = sorted(partition[0] for partition in session.partitions(CUSTOMER_FEATURES.name))
    fitted_on = max(day for day in days if as_of is None or day <= as_of)
    customers = customers_at(session, fitted_on)
    tested = out_of_time(frame)
    segments = segments_of(tested)
    model = fit(customers)
    learn_intervals(model, "spend", tested.predictions["predicted"], tested.predictions)
    comparison = compare_value(tested.predictions, incumbent, COLUMNS, VALUE_HORIZON, seed=SEED, resamples=RESAMPLES)
    currency = str(customers["currency"].iloc[0])
    newest, example = customers[COLUMNS].astype(float), made_up_customer(customers, COLUMNS)
    return ValueCandidate(
        model=model,
        inputs=COLUMNS,
        frame=frame,
        as_of=as_of,
        selection=selection,
        tested=tested,
        segments=segments,
        currency=currency,
        comparison=comparison,
        gates=[*gates(tested, segments, comparison, currency), *leak_gates(tested)],
        example=example,
        prediction=model.predict(example, VALUE_HORIZON),
        spread={**newest, "expected_spend": model.predict(newest, VALUE_HORIZON)["expected_spend"]},
        params={
            "seed": SEED,
            "resamples": RESAMPLES,
            "horizon_days": VALUE_HORIZON,
            "fitted_on": fitted_on.isoformat(),
        },
        metrics=_metrics(tested),
        tags={"labels_closed": fitted_on.isoformat()},
        headline=_headline(tested, currency),
    )


def _metrics(tested: "OutOfTime[ValueFigures]") -> dict[str, float]:
    pooled, last = tested.pooled, tested.snapshots[-1]
    return {
        **interval_metrics(
            mae=pooled.mae,
            mae_past_spend=pooled.naive_mae,
            mae_gain=pooled.mae_gain,
            rmse=pooled.rmse,
            bias_percent=pooled.bias_percent,
            gini=pooled.gini,
            gini_past_spend=pooled.naive_gini,
            mae_last=last.mae,
            bias_percent_last=last.bias_percent,
            gini_last=last.gini,
        ),
        "test_rows": pooled.n,
    }


def _headline(tested: "OutOfTime[ValueFigures]", currency: str) -> str:
    pooled = tested.pooled
    return (
        f"MAE **{pooled.mae.value:.0f} {currency}** [{pooled.mae.low:.0f}, {pooled.mae.high:.0f}] against "
        f"{pooled.naive_mae.value:.0f} of past spend; bias {pooled.bias_percent.value:+.1f} %, "
        f"Gini {pooled.gini.value:.3f}"
    )


def _review(candidate: ValueCandidate, context: ReviewContext) -> str:
    # draws: loaded where a page is made
    from cdap_assets.models.lifetime_value_model.review import value_review

    return value_review(candidate, context)


RECIPE = ModelRecipe(
    name=NAME,
    code_version=VERSION,
    description=(
        f"What a customer will spend in {VALUE_HORIZON} days: purchases by BG/NBD, money per purchase day by "
        "Gamma-Gamma. Fitted on the newest snapshot's histories, tested on snapshots whose label has closed. "
        "Registered in MLflow for review."
    ),
    version_description="Spend to expect of each customer; see review.html of the run before approving.",
    learns_from=(CUSTOMER_FEATURES.name, VALUE_LABELS.name),
    features=COLUMNS,
    label="spend",
    gates=GATES,
    train=train,
    review=_review,
)
lifetime_value_model = model_asset(RECIPE)

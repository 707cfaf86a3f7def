"""No model learns from what a contract does not allow, or from a sensitive trait that nobody allowed by name."""

from __future__ import annotations

from pathlib import Path

import dagster as dg
import pytest

from cdap_assets.commands.new_home import EXAMPLE_CONTRACTS
from cdap_assets.contracts.reading import read_contracts
from cdap_assets.curated.entities import ENTITIES
from cdap_assets.models.lapse_model import asset as lapse_asset
from cdap_assets.models.model_policy import ModelPolicy, ModelPolicyError, read_model_policy
from cdap_assets.models.purpose import MADE_OF, PurposeRefused, Selection, select, selected_features
from cdap_assets.models.training import FEATURES
from resources.clock import Calendar
from resources.lake.lakehouse import Lakehouse
from resources.registry.model_registry import ModelRegistry
from tests.shop import CLOCK, CONTRACT, make_shop

MONEY = {"monetary_value", "net_28", "net_56", "net_91", "net_182"}


def chosen(tmp_path: Path, *changes: tuple[str, str], policy: ModelPolicy | None = None) -> Selection:
    """The selection for the shop's contract after replacing texts in it."""
    text = CONTRACT
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    (tmp_path / "orders.yaml").write_text(text, encoding="utf-8")
    contracts, broken = read_contracts(tmp_path, {name: entity.mapped for name, entity in ENTITIES.items()})
    assert broken == {}
    return select(FEATURES, contracts, policy or ModelPolicy())


def reasons(found: Selection) -> dict[str, str]:
    return {entry.name: entry.reason for entry in found.held_back}


AMOUNT = '{name: amount, logicalType: number, physicalType: "decimal(18,2)", required: true'
LIVE = "  - {property: live, value: false}"


def test_a_contract_that_states_no_purposes_limits_nothing(tmp_path: Path) -> None:
    assert chosen(tmp_path) == Selection(FEATURES, ())


def test_a_contract_without_the_purpose_holds_back_every_feature_made_of_it(tmp_path: Path) -> None:
    found = chosen(tmp_path, (LIVE, f"  - {{property: purposes, value: [retention]}}\n{LIVE}"))
    assert set(found.used) == {"touches_91", "responses_91", "responses"}
    told = "contract orders allows ordered_at for retention, not for model_training"
    assert reasons(found)["frequency"] == told
    with pytest.raises(PurposeRefused, match=f"lapse_model cannot be trained without frequency, held back: {told}"):
        found.require(("frequency",), "lapse_model")
    allowed = chosen(tmp_path, (LIVE, f"  - {{property: purposes, value: [retention, model_training]}}\n{LIVE}"))
    assert allowed == Selection(FEATURES, ())


def test_a_column_may_be_narrower_than_its_contract_and_holds_back_what_is_made_of_it(tmp_path: Path) -> None:
    narrow = f"{AMOUNT}, customProperties: [{{property: purposes, value: [billing]}}]"
    found = chosen(tmp_path, (AMOUNT, narrow))
    assert set(reasons(found)) == MONEY
    assert set(reasons(found).values()) == {"contract orders allows amount for billing, not for model_training"}
    assert set(found.used) == set(FEATURES) - MONEY


def test_a_sensitive_column_is_followed_through_expressions_and_allowed_by_name_alone(tmp_path: Path) -> None:
    income = f"{AMOUNT.replace('amount', 'income')}}}\n      - {AMOUNT}"
    mapped = ("transformLogic: amount}", "transformLogic: amount + 0 * income}")
    found = chosen(tmp_path, (AMOUNT, income), mapped)
    assert set(reasons(found)) == MONEY
    told = "income of contract orders is sensitive, and models.yaml does not allow it by name"
    assert set(reasons(found).values()) == {told}
    assert chosen(tmp_path, (AMOUNT, income), mapped, policy=ModelPolicy(allow_sensitive=("income",))).used == FEATURES


def test_a_filter_on_a_trait_is_no_way_around(tmp_path: Path) -> None:
    age = f"{AMOUNT.replace('amount', 'age')}}}\n      - {AMOUNT}"
    where = (
        "physicalType: canonical\n",
        'physicalType: canonical\n    customProperties: [{property: where, value: "age > 30"}]\n',
    )
    found = chosen(tmp_path, (AMOUNT, age), where)
    assert {"frequency", "net_28"} <= set(reasons(found))


def test_the_example_learns_from_purchases_and_campaigns_and_from_no_trait() -> None:
    entities = {name: entity.mapped for name, entity in ENTITIES.items()}
    contracts, broken = read_contracts(EXAMPLE_CONTRACTS, entities)
    assert broken == {}
    found = select(FEATURES, contracts, ModelPolicy())
    assert found.used == FEATURES
    assert {"demographics.age", "demographics.income", "demographics.marital_status"} <= set(reasons(found))
    allowed = select(FEATURES, contracts, ModelPolicy(allow_sensitive=("age",)))
    assert "not for model_training" in reasons(allowed)["demographics.age"]


def test_every_feature_says_what_it_is_made_of() -> None:
    assert set(FEATURES) <= set(MADE_OF)
    for made_of in MADE_OF.values():
        for entity, columns in made_of.items():
            assert set(columns) <= {column.name for column in ENTITIES[entity].mapped}


def test_a_policy_is_read_from_the_home_and_one_that_is_wrong_is_told(tmp_path: Path) -> None:
    assert read_model_policy(tmp_path) == ModelPolicy()
    (tmp_path / "models.yaml").write_text("allow_sensitive: [age]\nprofit: {cost: 2}\n", encoding="utf-8")
    assert read_model_policy(tmp_path).allow_sensitive == ("age",)
    assert read_model_policy(tmp_path).profit.cost == 2
    (tmp_path / "models.yaml").write_text("allow: [age]\n", encoding="utf-8")
    with pytest.raises(ModelPolicyError, match=r"models.yaml: allow: Extra inputs are not permitted"):
        read_model_policy(tmp_path)
    (tmp_path / "models.yaml").write_text("profit: {effect: 2}\n", encoding="utf-8")
    with pytest.raises(ModelPolicyError, match=r"profit.effect: .*less than or equal to 1, found 2"):
        read_model_policy(tmp_path)
    (tmp_path / "models.yaml").write_text("a: [", encoding="utf-8")
    with pytest.raises(ModelPolicyError, match="is not YAML"):
        read_model_policy(tmp_path)


def test_training_without_the_purpose_fails_once_and_says_where_to_allow_it(tmp_path: Path) -> None:
    settings = make_shop(tmp_path / "home")
    contract = settings.contracts / "orders.yaml"
    contract.write_text(CONTRACT.replace(LIVE, f"  - {{property: purposes, value: [billing]}}\n{LIVE}"))
    assert selected_features(settings, ["frequency"]).used == ()
    resources = {
        "lakehouse": Lakehouse(settings),
        "registry": ModelRegistry(settings),
        "installation": Calendar(lambda: CLOCK),
    }
    result = dg.materialize([lapse_asset.lapse_model], resources=resources, raise_on_error=False)
    (event,) = [event for event in result.all_events if event.event_type_value == "STEP_FAILURE"]
    failure = event.step_failure_data.user_failure_data
    assert failure is not None
    told = failure.description or ""
    assert "contract orders allows ordered_at for billing, not for model_training" in told
    assert not [event for event in result.all_events if event.event_type_value == "STEP_UP_FOR_RETRY"]

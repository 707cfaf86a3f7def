"""What of the main job is left to do: after a training that died, that training."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path

import ibis
import pandas as pd
import pytest
from sklearn.linear_model import LinearRegression

from cdap_assets.features.labels import LAPSE_LABELS
from cdap_assets.installation import Installation
from cdap_assets.models import lapse_model, lifetime_value_model
from cdap_assets.models.serving import MODELS
from cdap_assets.work.stages import CODE_VERSIONS, training_stage
from resources.registry.model_decisions import serve_first
from resources.registry.recording import NewVersion, register
from resources.settings import Settings

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::ResourceWarning")  # MLflow's own
TARGET = date(2024, 3, 3)
FRAME = pd.DataFrame({"frequency": [2.0]})


class Killed(BaseException):
    """The end of a process, as far as one test may see it."""


def killed(number: int) -> None:
    """What a version learned from was never kept."""
    raise Killed(number)


def train(home: Installation, name: str, labels_closed: date, *, finished: bool = True) -> None:
    """Register a version as a training does, or as far as one came that was killed."""
    model = LinearRegression().fit(FRAME, FRAME.frequency)
    tags = {"labels_closed": labels_closed.isoformat(), "code_version": CODE_VERSIONS[name]}
    new = NewVersion(name, "a test", model, FRAME, pd.DataFrame({"spend": [2.0]}), "passed", tags=tags)
    if not finished:
        with pytest.raises(Killed):
            register(home.registry, new, review=lambda *_: "", keep=killed)
        return
    version = register(home.registry, new, review=lambda *_: "", keep=lambda _number: None)
    serve_first(home.registry, name, version.version)


@pytest.fixture
def home(tmp_path: Path) -> Installation:
    """A home that has something to learn from."""
    home = Installation.of(Settings(home=tmp_path, threads=1, memory_limit="1GB"), lambda: datetime(2024, 3, 4))
    row = {"snapshot_date": date(2024, 1, 7), "customer_id": "ann", "eligible": True, "lapsed": False}
    with home.lakehouse.session() as session:
        session.publish(LAPSE_LABELS, ibis.memtable([row], schema=LAPSE_LABELS.schema()))
    return home


def test_a_first_version_whose_registration_was_killed_is_trained_again(home: Installation) -> None:
    train(home, lapse_model.NAME, TARGET)
    train(home, lifetime_value_model.NAME, TARGET, finished=False)
    stage = training_stage(home, TARGET)
    assert stage is not None
    assert stage.why == f"no lifetime_value_model as of {TARGET} yet"
    train(home, lifetime_value_model.NAME, TARGET)
    assert training_stage(home, TARGET) is None


def test_a_later_version_whose_registration_was_killed_does_not_pass_for_the_newest(home: Installation) -> None:
    for name in MODELS:
        train(home, name, date(2024, 2, 4))
        train(home, name, TARGET, finished=False)
    stage = training_stage(home, TARGET)
    assert stage is not None
    assert stage.why == "; ".join(f"{name} is 28 days old or more" for name in MODELS)

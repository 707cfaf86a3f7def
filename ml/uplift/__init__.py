"""What a contact changes: uplift learners that know how the contact was assigned."""

from ml.uplift.assignment import (
    AssignmentContradicted,
    AssignmentError,
    AssignmentUnknown,
    AssumedByFeatures,
    NoOverlap,
    Randomised,
)
from ml.uplift.learners import DRLearner, RLearner, TLearner
from ml.uplift.selection import RankingSelector

__all__ = [
    "AssignmentContradicted",
    "AssignmentError",
    "AssignmentUnknown",
    "AssumedByFeatures",
    "DRLearner",
    "NoOverlap",
    "RLearner",
    "Randomised",
    "RankingSelector",
    "TLearner",
]

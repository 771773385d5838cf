"""From a recipe to figures, and from a recipe to a promoted release."""

from headwater.experiment.breakdown import ChannelByGap, by_gap, incremental
from headwater.experiment.measure import evaluate_recipe, resume_recipe
from headwater.experiment.promote import import_profiles, promote_fitted, train
from headwater.experiment.provenance import config_hash
from headwater.experiment.results import Results
from headwater.experiment.shared import Outcome, evaluate_all
from headwater.experiment.table import Row, Table

__all__ = [
    "ChannelByGap",
    "Outcome",
    "Results",
    "Row",
    "Table",
    "by_gap",
    "config_hash",
    "evaluate_all",
    "evaluate_recipe",
    "import_profiles",
    "incremental",
    "promote_fitted",
    "resume_recipe",
    "train",
]

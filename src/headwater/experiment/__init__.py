"""From a recipe to figures, and from a recipe to a promoted release."""

from headwater.experiment.measure import evaluate_recipe, require_channels, resume_recipe
from headwater.experiment.promote import import_profiles, train
from headwater.experiment.provenance import config_hash
from headwater.experiment.results import Results
from headwater.experiment.table import Row, Table

__all__ = [
    "Results",
    "Row",
    "Table",
    "config_hash",
    "evaluate_recipe",
    "import_profiles",
    "require_channels",
    "resume_recipe",
    "train",
]

"""Ranking models of one recipe, side by side: trained on days in time order, measured on later ones."""

from headwater.experiment.ranking.recipe import RankRecipe, load_rank_recipe
from headwater.experiment.ranking.run import evaluate_models, progressive
from headwater.experiment.ranking.table import RankRow, RankTable

__all__ = ["RankRecipe", "RankRow", "RankTable", "evaluate_models", "load_rank_recipe", "progressive"]

"""Recipes over the made-up marketplace."""

from headwater.recipe import EvaluateRecipe, Recipe
from headwater.retrieval.base import ChannelSettings


def recipe_of(*channels: ChannelSettings, refit: bool = False) -> Recipe:
    evaluate = EvaluateRecipe(ks=(5, 10), incremental_ks=(5, 20), refit=refit)
    return Recipe(dataset="marketplace", channels=channels, evaluate=evaluate)

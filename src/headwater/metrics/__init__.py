"""How good a list is: ranking metrics, diversity, and the protocols that they are measured under."""

from headwater.metrics.diversity import (
    average_popularity,
    catalogue_coverage,
    category_coverage,
    popularity_ratio,
)
from headwater.metrics.protocols import FullRanking, Protocol, SampledNegatives, nth_outside
from headwater.metrics.ranking import Hits, hit_rate, ndcg, recall, reciprocal_rank

__all__ = [
    "FullRanking",
    "Hits",
    "Protocol",
    "SampledNegatives",
    "average_popularity",
    "catalogue_coverage",
    "category_coverage",
    "hit_rate",
    "ndcg",
    "nth_outside",
    "popularity_ratio",
    "recall",
    "reciprocal_rank",
]

"""How good a list is: ranking metrics, diversity, and the protocols that they are measured under."""

from headwater.metrics.calibration import expected_calibration_error
from headwater.metrics.diversity import (
    average_popularity,
    catalogue_coverage,
    category_coverage,
    popularity_ratio,
)
from headwater.metrics.gaps import NO_HISTORY, GapBucket, gain_by_gap, hit_rate_by_gap
from headwater.metrics.incremental import IncrementalRecall, incremental_recall
from headwater.metrics.protocols import FullRanking, ListedNegatives, Protocol, SampledNegatives, nth_outside
from headwater.metrics.ranking import Hits, hit_rate, ndcg, recall, reciprocal_rank

__all__ = [
    "NO_HISTORY",
    "FullRanking",
    "GapBucket",
    "Hits",
    "IncrementalRecall",
    "ListedNegatives",
    "Protocol",
    "SampledNegatives",
    "average_popularity",
    "catalogue_coverage",
    "category_coverage",
    "expected_calibration_error",
    "gain_by_gap",
    "hit_rate",
    "hit_rate_by_gap",
    "incremental_recall",
    "ndcg",
    "nth_outside",
    "popularity_ratio",
    "recall",
    "reciprocal_rank",
]

"""How good a list or a prediction is: ranking metrics, diversity, AUC, calibration, and protocols."""

from headwater.metrics.auc import GroupedAUC, auc, grouped_auc
from headwater.metrics.calibration import Reliability, logloss, reliability
from headwater.metrics.diversity import (
    average_popularity,
    catalogue_coverage,
    category_coverage,
    popularity_ratio,
)
from headwater.metrics.gaps import NO_HISTORY, GapBucket, gain_by_gap, hit_rate_by_gap
from headwater.metrics.incremental import IncrementalRecall, incremental_recall
from headwater.metrics.prediction import Prediction, measure_by_activity, measure_prediction
from headwater.metrics.protocols import FullRanking, ListedNegatives, Protocol, SampledNegatives, nth_outside
from headwater.metrics.ranking import Hits, hit_rate, ndcg, recall, reciprocal_rank

__all__ = [
    "NO_HISTORY",
    "FullRanking",
    "GapBucket",
    "GroupedAUC",
    "Hits",
    "IncrementalRecall",
    "ListedNegatives",
    "Prediction",
    "Protocol",
    "Reliability",
    "SampledNegatives",
    "auc",
    "average_popularity",
    "catalogue_coverage",
    "category_coverage",
    "gain_by_gap",
    "grouped_auc",
    "hit_rate",
    "hit_rate_by_gap",
    "incremental_recall",
    "logloss",
    "measure_by_activity",
    "measure_prediction",
    "ndcg",
    "nth_outside",
    "popularity_ratio",
    "recall",
    "reciprocal_rank",
    "reliability",
]

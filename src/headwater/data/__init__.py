"""What happened: schemas, vocabularies, data sets, splits, and readers of published and own data."""

from headwater.data.dataset import Dataset
from headwater.data.impressions import TASKS, Impressions
from headwater.data.queries import Queries
from headwater.data.schema import TIE_RULE, Behaviour
from headwater.data.splits import HeldOut, Split, global_time, leave_one_out
from headwater.data.vocabulary import UNKNOWN, Vocabulary, key_of

__all__ = [
    "TASKS",
    "TIE_RULE",
    "UNKNOWN",
    "Behaviour",
    "Dataset",
    "HeldOut",
    "Impressions",
    "Queries",
    "Split",
    "Vocabulary",
    "global_time",
    "key_of",
    "leave_one_out",
]

"""The paper's figures (Li et al., SIGIR 2021)."""

from __future__ import annotations

from typing import NamedTuple


class Quality(NamedTuple):
    """HR@10 and NDCG@10."""

    hit_rate: float
    ndcg: float


class Published(NamedTuple):
    """One method on one data set; None where the paper has no figure."""

    personalised: Quality | None
    item_to_item: Quality | None


def _both(*figures: float) -> Published:
    return Published(Quality(*figures[:2]), Quality(*figures[2:]))


def _items(*figures: float) -> Published:
    return Published(None, Quality(*figures))


METHODS = {
    "dssm": "DSSM",
    "youtube_dnn": "YoutubeDNN",
    "bst": "BST",
    "pearson": "Pearson CF (PCF)",
    "slim": "SLIM",
    "din": "DIN",
    "paths-without-bias-net": "Paths without bias net",
    "paths-without-direct-net": "Paths without direct net",
    "paths": "Paths (PDN)",
}
"""The rows of Table 2: our channel -> its method, in the paper's order."""

TABLE_2: dict[str, dict[str, Published]] = {
    "ml-1m": {
        "dssm": _both(0.4699, 0.2603, 0.2243, 0.1034),
        "youtube_dnn": _both(0.6187, 0.3579, 0.4362, 0.2324),
        "bst": _both(0.6316, 0.3603, 0.0561, 0.0277),
        "pearson": _items(0.4033, 0.2132),
        "slim": _items(0.4400, 0.2337),
        "din": _both(0.6454, 0.3767, 0.1662, 0.0918),
        "paths-without-bias-net": _both(0.6323, 0.3401, 0.5080, 0.2795),
        "paths-without-direct-net": _both(0.6642, 0.3930, 0.5124, 0.2813),
        "paths": _both(0.6770, 0.4071, 0.5152, 0.2859),
    },
    "pinterest-20": {
        "dssm": _both(0.2730, 0.1394, 0.1647, 0.0759),
        "youtube_dnn": _both(0.7585, 0.4351, 0.6409, 0.3028),
        "bst": _both(0.8176, 0.4955, 0.5371, 0.2428),
        "pearson": _items(0.2800, 0.1470),
        "slim": _items(0.6067, 0.3323),
        "din": _both(0.8185, 0.5051, 0.4370, 0.2059),
        "paths-without-bias-net": _both(0.8015, 0.4814, 0.7654, 0.4345),
        "paths-without-direct-net": _both(0.8123, 0.5286, 0.7703, 0.4397),
        "paths": _both(0.8283, 0.5358, 0.7911, 0.4613),
    },
    "amazon-books": {
        "dssm": _both(0.6433, 0.4163, 0.1981, 0.0894),
        "youtube_dnn": _both(0.6539, 0.4370, 0.2398, 0.0955),
        "bst": _both(0.6923, 0.4403, 0.1019, 0.0574),
        "pearson": _items(0.0547, 0.0203),
        "slim": _items(0.1621, 0.0679),
        "din": _both(0.6973, 0.4698, 0.1325, 0.0612),
        "paths-without-bias-net": _both(0.6869, 0.4520, 0.2866, 0.1546),
        "paths-without-direct-net": _both(0.7012, 0.4729, 0.2962, 0.1613),
        "paths": _both(0.7019, 0.4735, 0.3505, 0.2049),
    },
}
"""Recipe -> channel -> its figures."""

TABLE_4 = {
    "pearson": (0.066, 0.110, 0.131, 0.141, 0.120),
    "bst": (0.123, 0.175, 0.191, 0.200, 0.180),
    "paths": (0.263, 0.326, 0.329, 0.295, 0.297),
}
"""Channel -> HR@300 in Taobao's log, of users with n ≤ 15, 15 < n ≤ 30, 30 < n ≤ 45, n > 45 events, and of all."""

GROUPS_OF_TABLE_4 = ("n ≤ 15", "15 < n ≤ 30", "30 < n ≤ 45", "n > 45", "all")

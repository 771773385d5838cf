"""What the paper says: Tables 2, 3 and 4 (Zhang et al., WWW 2023)."""

from __future__ import annotations

METHODS = {
    "mf": "MF",
    "sasrec-original": "SASRec",
    "sasrec+": "SASRec+",
    "mind": "MIND",
    "comirec": "ComiRec",
    "divide": "Ours",
    "divide-naive": "w/ Naive MTL",
    "divide-mmoe": "w/ MMoE",
}
"""Channel -> the paper's row."""

TABLE_2: dict[str, dict[str, dict[int, float]]] = {
    "ml-1m": {
        "mf": {20: 0.120, 50: 0.231},
        "sasrec-original": {20: 0.183, 50: 0.337},
        "sasrec+": {20: 0.220, 50: 0.367},
        "mind": {20: 0.186, 50: 0.343},
        "comirec": {20: 0.192, 50: 0.341},
        "divide": {20: 0.234, 50: 0.375},
        "divide-naive": {20: 0.221, 50: 0.366},
        "divide-mmoe": {20: 0.224, 50: 0.371},
    },
    "kuairand": {
        "mf": {500: 0.086, 1000: 0.132},
        "sasrec-original": {500: 0.178, 1000: 0.254},
        "sasrec+": {500: 0.200, 1000: 0.284},
        "mind": {500: 0.138, 1000: 0.201},
        "comirec": {500: 0.188, 1000: 0.269},
        "divide": {500: 0.254, 1000: 0.359},
        "divide-naive": {500: 0.245, 1000: 0.344},
        "divide-mmoe": {500: 0.239, 1000: 0.341},
    },
}
"""Recipe -> channel -> M -> Recall@M."""

TABLE_3: dict[str, dict[str, dict[int, float]]] = {
    "ml-1m": {
        "sasrec-original": {5: 0.191, 20: 0.424, 50: 0.639},
        "divide-naive": {5: 0.217, 20: 0.463, 50: 0.674},
        "divide-mmoe": {5: 0.223, 20: 0.482, 50: 0.682},
        "divide": {5: 0.235, 20: 0.483, 50: 0.682},
    },
    "kuairand": {
        "sasrec-original": {100: 0.172, 500: 0.399, 1000: 0.543},
        "divide-naive": {100: 0.228, 500: 0.502, 1000: 0.658},
        "divide-mmoe": {100: 0.218, 500: 0.496, 1000: 0.655},
        "divide": {100: 0.237, 500: 0.522, 1000: 0.682},
    },
}
"""Recipe -> channel -> M -> Recall@M within the cluster of the truth."""

TABLE_4 = {"sasrec-original": 25_000.0, "divide-mmoe": 7_200.0, "divide": 25_000.0}
"""Channel -> samples a second."""

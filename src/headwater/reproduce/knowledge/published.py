"""GAUC as published (Tables 2 to 8 of KEEP), on Taobao's own data, which nobody else has."""

from __future__ import annotations

TABLE_2 = {
    "base": ("Base", 0.6310),
    "merging": ("Sample Merging", 0.6185),
    "conet": ("CoNet", 0.6336),
    "darec": ("DARec", 0.6341),
    "keep-c": ("KEEP-C", 0.6348),
    "bert4rec": ("BERT4Rec", 0.6326),
    "s3rec": ("S3-Rec", 0.6341),
    "keep": ("KEEP", 0.6380),
}
"""Method -> what the paper calls it, and its GAUC."""

TABLE_3 = {"base": 0.6310, "keep-user": 0.6332, "keep-user-item": 0.6347, "keep": 0.6380}
"""What is plugged in: nothing, K_u, K_u and K_i, all."""

TABLE_4 = {"keep-click": 0.6310 + 0.0058, "keep": 0.6380}
"""Which tasks' knowledge: click; all."""

TABLE_5 = {"click": 0.0042, "conversion": 0.0036, "cart": 0.0065}
"""Task -> gain over Base in production."""

TABLE_6 = {"base": 0.6661, "keep-0.25": None, "keep-0.5": None, "keep": 0.6703}
"""How much was learned from; the paper's shares are of two years: one month .6667, six months .6679."""

TABLE_7 = {"0-50": 0.0054, "50-150": 0.0040, "150-300": 0.0034, "300+": 0.0031}
"""Clicks of a user -> gain over Base."""

TABLE_8 = {"keep": 0.6703, "keep-decomposed": 0.6691, "keep-degenerated": 0.6683, "keep-served": 0.6698}
"""KEEP, decomposed, degenerated, and both."""

"""What papers say of live traffic: MNR's Tables 1 to 4 and section 3.4, Table 3 of Paths, Table 6 of Divide."""

from __future__ import annotations

from typing import NamedTuple


class Published(NamedTuple):
    """One row of a table; None where the paper withholds a figure. Shares, not percent."""

    pvr: float | None = None
    hirate: float | None = None
    ctcvr: float | None = None
    """Relative to the table's base; 0 for the base itself."""


TABLE_1 = {
    "all channels": Published(1.0, 0.0062, 0.0),
    "swing": Published(None, 0.0043, 0.212),
    "mind": Published(None, 0.0121, 0.075),
    "glare": Published(None, 0.0066, 0.002),
    "nearline/mini_detail": Published(0.1554, 0.0194, 0.350),
    "nearline/post_purchase": Published(0.1529, 0.0108, 0.113),
    "nearline/main_search": Published(0.0699, 0.0202, 0.570),
    "nearline/in_shop": Published(0.0071, 0.0090, -0.330),
    "nearline/photo_search": Published(0.0036, 0.0166, 1.037),
}
"""Channel -> its row, in the paper's order."""

TABLE_2 = {"stream": Published(pvr=0.0699, ctcvr=0.0), "daily": Published(pvr=0.0302, ctcvr=-0.36)}
TABLE_3 = {
    "score": Published(pvr=0.0699, ctcvr=0.0),
    "fifo": Published(pvr=0.0193, ctcvr=-0.089),
    "random": Published(pvr=0.0035, ctcvr=-0.236),
}
TABLE_4 = {
    10: Published(pvr=0.0371, ctcvr=-0.020),
    20: Published(pvr=0.0365, ctcvr=-0.017),
    50: Published(pvr=0.0371, ctcvr=0.0),
    200: Published(pvr=0.0363, ctcvr=-0.120),
    500: Published(pvr=0.0357, ctcvr=-0.150),
}
"""By alpha."""

TRANSACTIONS = 0.05
"""Section 3.4: more transactions with MNR than without, relative."""

CONTRADICTION = (
    "the paper contradicts itself: the same channel with the same alpha of 50 has a PVR of 6.99% in its Tables 1 to 3 "
    "and of 3.71% in its Table 4; both are shown as published"
)

PATHS_TABLE_3 = {
    "itemcf": {"CTR": 0.0, "clicks a user": 0.0, "session length": 0.0, "diversity": 0.0},
    "simnet": {"CTR": 0.0925, "clicks a user": 0.0543, "session length": 0.0408, "diversity": 0.1468},
    "paths": {"CTR": 0.1804, "clicks a user": 0.1538, "session length": 0.0787, "diversity": 0.1960},
}
"""Li et al., SIGIR 2021: what serves in the place of item-based CF's index -> relative to it. Their session
length is in time, ours in visits."""

DIVIDE_TABLE_6 = {"comirec": 0.0, "divide": 0.078}
"""Zhang et al., WWW 2023: click rate of what each channel gave, relative to ComiRec's 56.1%."""

"""What anybody can see of the items: what rankers, channels and candidate sources may use."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from headwater.data.vocabulary import Vocabulary

if TYPE_CHECKING:
    import pyarrow as pa
    from numpy.typing import NDArray

FOREVER = 1 << 60
"""When an item retires that never does, seconds after the start."""


@dataclass(frozen=True)
class Catalogue:
    """n items, by code.

    Attributes
    ----------
    items : Vocabulary
        Codes to ids.
    departments, categories, styles, shops, brands : (n,) int32
        A category's department is `category_departments`; a style is a look within its category.
    category_departments : (categories,) int32
    complements : (categories, c) int32
        Categories that go with each.
    log_prices : (n,) float32
    ratings : (n,) float32
        The mean of past reviews: quality, seen through noise; in standard deviations.
    sales : (n,) float32
        Of the time before day 0; a share of all.
    arrives, retires : (n,) int64
        Seconds after the start between which the item is on sale.
    n_styles : int
    """

    items: Vocabulary
    departments: NDArray[np.int32]
    categories: NDArray[np.int32]
    styles: NDArray[np.int32]
    shops: NDArray[np.int32]
    brands: NDArray[np.int32]
    category_departments: NDArray[np.int32]
    complements: NDArray[np.int32]
    log_prices: NDArray[np.float32]
    ratings: NDArray[np.float32]
    sales: NDArray[np.float32]
    arrives: NDArray[np.int64]
    retires: NDArray[np.int64]
    n_styles: int

    def __len__(self) -> int:
        return len(self.categories)

    @property
    def n_categories(self) -> int:
        return len(self.category_departments)

    @cached_property
    def looks(self) -> NDArray[np.int32]:
        """(n,) category and style in one number."""
        return (self.categories * self.n_styles + self.styles).astype(np.int32)

    @cached_property
    def popularity(self) -> NDArray[np.float32]:
        """(n,) the logarithm of past sales, standardised."""
        logs = np.log(self.sales.astype(np.float64) + 1e-9)
        return ((logs - logs.mean()) / max(float(logs.std()), 1e-9)).astype(np.float32)

    @cached_property
    def codes(self) -> NDArray[np.int32]:
        """(n, 4) category, look, shop and brand side by side, for loops that read all of an item at once."""
        return np.column_stack([self.categories, self.looks, self.shops, self.brands]).astype(np.int32)

    @cached_property
    def n_codes(self) -> NDArray[np.int64]:
        """(4,) how many categories, looks, shops and brands there are."""
        return self.codes.max(axis=0).astype(np.int64) + 1

    @cached_property
    def numbers(self) -> NDArray[np.float32]:
        """(n, 3) logarithm of the price, popularity and rating side by side."""
        return np.column_stack([self.log_prices, self.popularity, self.ratings]).astype(np.float32)

    def on_sale(self, at: int) -> NDArray[np.bool_]:
        """(n,) whether each item is on sale `at` seconds after the start."""
        return (self.arrives <= at) & (at < self.retires)

    def attributes(self) -> pa.Table:
        """The columns that a data set of these items has."""
        import pyarrow as pa

        return pa.table(
            {
                "id": pa.array(self.items.ids),
                "title": [f"Item {n} of category {c}" for n, c in enumerate(self.categories.tolist())],
                "category": [f"category-{c}" for c in self.categories.tolist()],
                "department": [f"department-{d}" for d in self.departments.tolist()],
                "style": [f"style-{look}" for look in self.looks.tolist()],
                "shop": [f"shop-{shop}" for shop in self.shops.tolist()],
                "brand": [f"brand-{brand}" for brand in self.brands.tolist()],
                "price": pa.array(np.exp(self.log_prices.astype(np.float64))),
            }
        )


@dataclass(frozen=True)
class Shelves:
    """Lists of items by category, shop, look and department, and one of all; best-selling first.

    A shelf is a number: see `of_category` and its neighbours. CSR: shelf s holds ``items[offsets[s]:offsets[s + 1]]``.
    """

    offsets: NDArray[np.int64]
    items: NDArray[np.int32]
    starts: tuple[int, int, int, int, int]

    @classmethod
    def of(cls, catalogue: Catalogue, kept: NDArray[np.bool_] | None = None) -> Shelves:
        """Shelves of all items, or of those that `kept`, (n,), marks."""
        n_departments = int(catalogue.category_departments.max(initial=0)) + 1
        n_shops = int(catalogue.shops.max(initial=0)) + 1
        kinds = [
            (catalogue.categories, catalogue.n_categories),
            (catalogue.shops, n_shops),
            (catalogue.looks, catalogue.n_categories * catalogue.n_styles),
            (catalogue.departments, n_departments),
            (np.zeros(len(catalogue), np.int32), 1),
        ]
        starts = np.concatenate([[0], np.cumsum([size for _, size in kinds])])
        order = np.argsort(-catalogue.sales, kind="stable").astype(np.int32)
        if kept is not None:
            order = order[kept[order]]
        items, sizes = [], []
        for codes, size in kinds:
            mine = order[np.argsort(codes[order], kind="stable")]
            items.append(mine)
            sizes.append(np.bincount(codes[order], minlength=size))
        offsets = np.concatenate([[0], np.cumsum(np.concatenate(sizes))]).astype(np.int64)
        first = [int(start) for start in starts[:5]]
        return cls(offsets, np.concatenate(items), (first[0], first[1], first[2], first[3], first[4]))

    def of_category(self, codes: NDArray[np.integer]) -> NDArray[np.integer]:
        return codes + self.starts[0]

    def of_shop(self, codes: NDArray[np.integer]) -> NDArray[np.integer]:
        return codes + self.starts[1]

    def of_look(self, codes: NDArray[np.integer]) -> NDArray[np.integer]:
        return codes + self.starts[2]

    def of_department(self, codes: NDArray[np.integer]) -> NDArray[np.integer]:
        return codes + self.starts[3]

    @property
    def everything(self) -> int:
        return self.starts[4]

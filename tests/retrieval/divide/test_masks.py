"""A mask cut by cluster says what the whole mask says."""

import numpy as np
import pytest
from small import cut

from headwater.retrieval import Mask
from headwater.retrieval.divide.masks import ClusterMasks

N_ITEMS, N_ROWS, K = 40, 9, 6


def random_mask(seed: int, *, is_allowlist: bool, has_catalogue: bool) -> Mask:
    random = np.random.default_rng(seed)
    sizes = random.integers(0, 30, N_ROWS)
    # Repeated codes, and codes that the model does not know.
    items = random.integers(0, N_ITEMS + 10, sizes.sum()).astype(np.int32)
    catalogue = random.random(N_ITEMS + 10) < 0.6 if has_catalogue else None
    return Mask(np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64), items, is_allowlist, catalogue)


@pytest.mark.parametrize("is_allowlist", [False, True])
@pytest.mark.parametrize("has_catalogue", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_rooms_and_parts_are_those_of_brute_force(seed: int, is_allowlist: bool, has_catalogue: bool) -> None:
    labels = np.random.default_rng(seed + 100).integers(0, K, N_ITEMS)
    labels[labels == 2] = 3  # an empty cluster
    mask = random_mask(seed, is_allowlist=is_allowlist, has_catalogue=has_catalogue)
    clusters = cut(labels, K)
    found = ClusterMasks.of(mask, clusters, N_ROWS)
    rows, items = np.divmod(np.arange(N_ROWS * N_ITEMS), N_ITEMS)
    may = mask.allows(rows, items).reshape(N_ROWS, N_ITEMS)
    rooms = found.rooms()
    asked = np.array([1, 2, 5, 8])
    for k in range(K):
        members = np.flatnonzero(labels == k)
        np.testing.assert_array_equal(rooms[:, k], may[:, members].sum(1))
        part = found.within(k, asked)
        r, p = np.divmod(np.arange(len(asked) * len(members)), max(len(members), 1))
        np.testing.assert_array_equal(part.allows(r, p).reshape(len(asked), len(members)), may[np.ix_(asked, members)])


def test_without_a_mask_there_is_room_for_everything() -> None:
    found = ClusterMasks.of(None, cut([0, 1, 1], 3), 2)
    assert found.rooms().tolist() == [[1, 2, 0]] * 2


def test_a_part_of_a_longer_mask_is_read_from_its_own_beginning() -> None:
    whole = random_mask(3, is_allowlist=True, has_catalogue=False)
    clusters = cut(np.arange(N_ITEMS) % K, K)
    part = Mask(whole.offsets[4:7], whole.items, is_allowlist=True)
    np.testing.assert_array_equal(
        ClusterMasks.of(part, clusters, 2).rooms(), ClusterMasks.of(whole, clusters, N_ROWS).rooms()[4:6]
    )

"""Vectors of items from what stands beside them in histories: skip-gram, by gensim (the extra `divide`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from headwater.data.dataset import Dataset

if TYPE_CHECKING:
    from numpy.typing import NDArray


def item2vec(data: Dataset, *, dimension: int, window: int, epochs: int, seed: int) -> NDArray[np.float32]:
    """Skip-gram with ten negatives over histories (Barkan and Koenigstein, "Item2vec", MLSP 2016).

    In one thread, so that one seed has one result.

    Parameters
    ----------
    window : int
        Events before and behind.

    Returns
    -------
    (items, dimension) float32
        0 for an item without an event.

    Raises
    ------
    ImportError
        gensim is not installed.
    """
    from gensim.models import Word2Vec

    histories = [
        [str(item) for item in data.event_items[start:stop].tolist()]
        for start, stop in zip(data.offsets[:-1].tolist(), data.offsets[1:].tolist(), strict=True)
    ]
    model = Word2Vec(
        histories,
        vector_size=dimension,
        window=window,
        epochs=epochs,
        sg=1,
        negative=10,
        sample=1e-3,
        min_count=1,
        workers=1,
        seed=seed + 1,  # gensim takes 0 for none
        hashfxn=int,  # Python's own hash of text differs from run to run
    )
    vectors = np.zeros((len(data.items), dimension), np.float32)
    codes = np.array([int(str(word)) for word in model.wv.index_to_key], np.int64)
    vectors[codes] = model.wv.vectors
    return vectors

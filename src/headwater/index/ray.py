"""Generating an index on a cluster: Ray Data gives out the shards, and they are merged where they arrive.

Ray is the extra `headwater[ray]`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from headwater.index.generation import Shard
from headwater.index.neighbours import Lineage, merge_shards


def generate_on_ray(
    path: Path | str,
    write_shard: Callable[[Shard, Path], object],
    *,
    shards: int,
    folder: Path | str,
    vocabulary: Lineage,
) -> None:
    """Write the file that one run of `generate` writes, each shard as a task of the Ray cluster in use.

    A shard that stands in `folder` from an earlier attempt is used as it is, where `write_shard` is `generate`.

    Parameters
    ----------
    path : Path
    write_shard : callable
        Runs on the workers, such as ``lambda shard, path: generate(path, pairs, similarity, k, shard=shard, …)``; one
        that loads its model there sends no weights with every task.
    shards : int
        Some times as many as there are workers, so that none waits long for the last.
    folder : Path
        For the shards, on a disk that all workers and the caller share.
    vocabulary : Vocabulary

    Raises
    ------
    ArtefactError
        A worker left no valid shard.
    """
    import ray.data  # pyright: ignore[reportMissingImports] # an extra

    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)

    def place(index: int) -> Path:
        return folder / f"shard-{index}-of-{shards}"

    def work(row: dict[str, int]) -> dict[str, int]:
        write_shard(Shard(row["id"], shards), place(row["id"]))
        return row

    ray.data.range(shards, override_num_blocks=shards).map(work).materialize()
    merge_shards([place(index) for index in range(shards)], path, vocabulary)

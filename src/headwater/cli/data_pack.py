"""`headwater data pack | generate | cluster`: files for machines that train, and have neither polars nor gensim."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME

if TYPE_CHECKING:
    from headwater.data.dataset import Dataset


def pack_(
    data: Annotated[str, typer.Argument(metavar="NAME|FOLDER", help="A known name or a data set's folder.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The .npz to write; an older one is replaced.")],
    min_item: Annotated[
        int, typer.Option("--min-item-interactions", help="Leave out items with fewer interactions.", min=1)
    ] = 1,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Write a data set into one compressed file, for training on a machine without polars.

    Examples: headwater data pack ml-1m ml-1m.npz; headwater data pack ml-1m ml-1m-5.npz --min-item-interactions 5
    """
    from headwater.data.catalogue import load
    from headwater.data.packed import pack

    console = Console()
    with console.status(f"packing {data}"):
        dataset = load(data, home)
        if min_item > 1:
            dataset = dataset.with_frequent_items(min_item)
        pack(dataset, to)
    _print_packed(console, dataset, to)


def _print_packed(console: Console, dataset: Dataset, to: Path) -> None:
    console.print(
        f"{dataset.name}: {len(dataset):,} interactions in {to} ({to.stat().st_size / 1e6:.1f} MB), "
        f"checksum {dataset.checksum()}",
        highlight=False,
        markup=False,
    )


def generate_(
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The .npz to write; its name is the data set's.")],
    users: Annotated[int, typer.Option(help="How many.", min=1)] = 25_828,
    items: Annotated[int, typer.Option(help="How many.", min=1)] = 108_025,
    interactions: Annotated[int, typer.Option(help="About how many; three a user at least.", min=3)] = 20_141_835,
    n: Annotated[int, typer.Option("--clusters", "-n", help="Latent clusters of the items.", min=1)] = 15,
    seed: Annotated[int, typer.Option(help="Of all that is drawn.", min=0)] = 0,
) -> None:
    """Make logs with known clusters (the items' column `cluster`), by default as many as KuaiRand has.

    Example: headwater data generate packed/generated.npz
    """
    from headwater.data.generated import generated_logs
    from headwater.data.packed import pack

    console = Console()
    with console.status("drawing clicks"):
        dataset = generated_logs(users, items, interactions, n, name=to.stem, seed=seed)
        pack(dataset, to)
    _print_packed(console, dataset, to)


def cluster_(
    data: Annotated[str, typer.Argument(metavar="NAME|FOLDER|FILE.npz", help="A known, kept or packed data set.")],
    to: Annotated[Path, typer.Argument(metavar="FILE", help="The .npz to write; an older one is replaced.")],
    n: Annotated[int, typer.Option("--clusters", "-n", help="K.", min=1)] = 10,
    column: Annotated[
        str | None, typer.Option(help="A column of the items to cut by. (default: item2vec and k-means)")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of item2vec and k-means.", min=0)] = 0,
    is_whole: Annotated[
        bool, typer.Option("--whole", help="Learn from validation and test events too, for a channel that serves.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Cut the items of a data set into clusters, for `divide` on a machine without gensim and faiss.

    Vectors are learned from the training part of the leave-one-out split.

    Examples: headwater data cluster ml-1m ml-1m-clusters.npz -n 10; headwater data cluster ml-1m.npz clusters.npz
    """
    from headwater.data import leave_one_out
    from headwater.data.catalogue import load
    from headwater.data.packed import unpack
    from headwater.retrieval.divide.clusters import ClusterConfig, clusters_of, save_clusters

    console = Console()
    with console.status(f"clustering {data}"):
        dataset = unpack(Path(data)) if Path(data).is_file() else load(data, home)
        config = ClusterConfig(n=n, seed=seed)
        if column is not None:
            config = ClusterConfig(source="column", n=n, column=column)
        clusters = clusters_of(dataset if is_whole else leave_one_out(dataset).train, config)
        save_clusters(clusters, dataset, to)
    sizes = ", ".join(f"{size:,}" for size in clusters.sizes.tolist()[:20])
    console.print(
        f"{dataset.name}: {len(dataset.items):,} items in {len(clusters)} clusters ({sizes}"
        f"{', …' * (len(clusters) > 20)}) in {to}",
        highlight=False,
        markup=False,
        soft_wrap=True,
    )

"""`headwater paths …`: the index that a Paths channel is served along, built apart from training, and measured."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME

if TYPE_CHECKING:
    from headwater.index.generation import Shard

paths_app = typer.Typer(help="Build and measure the index that a Paths channel is served along.", no_args_is_help=True)


@paths_app.command()
def index(
    artefact: Annotated[Path, typer.Argument(help="A saved Paths channel; it is left as it is.", metavar="ARTEFACT")],
    recipe: Annotated[
        Path, typer.Option(help="Of its data set, whose histories and attributes say which pairs are scored.")
    ],
    out: Annotated[Path, typer.Option(help="Where the greedy channel goes, a folder as ARTEFACT is.")],
    neighbours: Annotated[int | None, typer.Option(help="Kept of each item. (default: the channel's)", min=1)] = None,
    candidates: Annotated[
        int | None, typer.Option(help="Pairs of each item that are scored. (default: the channel's)", min=1)
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(help="Only this part of the items, into OUT.shards; 0/8 is the first of 8.", metavar="I/N"),
    ] = None,
    merge: Annotated[bool, typer.Option("--merge", help="Join the shards in OUT.shards, made anywhere.")] = False,
    refresh: Annotated[
        bool, typer.Option("--refresh", help="Score only items whose candidate pairs changed since ARTEFACT's index.")
    ] = False,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Score candidate pairs with a trained SimNet, and save the channel with the best of them as its index.

    `headwater train` does it for a channel of search = "greedy". Apart from it, several machines can take shards.

    Example: headwater paths index channels/paths --recipe recipes/ml-1m.toml --out channels/greedy
    """
    from headwater.recipe import load_recipe
    from headwater.retrieval.paths.channel import Paths
    from headwater.retrieval.paths.indexing import merged_index, write_shard

    if sum((shard is not None, merge, refresh)) > 1:
        raise typer.BadParameter("give one of them at most", param_hint="--shard, --merge, --refresh")
    part = None if shard is None else _shard(shard)
    asked = {"neighbours": neighbours, "candidates_per_item": candidates}
    settings = {name: value for name, value in asked.items() if value is not None}
    if refresh and settings:
        raise typer.BadParameter("keeps the settings that the index was made with", param_hint="--refresh")
    console = Console()
    with console.status("reading the data set"):
        data = load_recipe(recipe).load_dataset(home)
    channel = Paths.load(artefact, data.items)
    shards = out.with_name(out.name + ".shards")
    if part is not None:
        place = shards / f"{part.index}-of-{part.count}"
        is_new = write_shard(channel.under(settings).model, data, place, part, console=console)
        console.print(f"{place}: {'written' if is_new else 'was there already'}", soft_wrap=True)
        return
    if merge:
        found = sorted(shards.glob("*-of-*"))
        chosen = channel.under(settings)
        greedy = chosen.along(merged_index(chosen.model, data, found, shards / "whole"))
        said = f"{len(found)} shards"
    elif refresh:
        greedy, n_scored = channel.refreshed(data)
        said = f"{n_scored:,} of {len(greedy.index):,} items scored, the others copied"
    else:
        greedy = channel.greedily(data, **settings)
        said = f"{len(greedy.index):,} items"
    greedy.save(out)
    console.print(f"{out}: {greedy.index.k} neighbours an item, {said}", soft_wrap=True)


@paths_app.command()
def recall(
    recipe: Annotated[Path, typer.Argument(help="A recipe with a Paths channel.", metavar="RECIPE")],
    artefact: Annotated[
        Path | None, typer.Option(help="A Paths channel that learned from the training part only; else one is trained.")
    ] = None,
    save: Annotated[Path | None, typer.Option(help="Where to keep the channel that is trained.")] = None,
    part: Annotated[str, typer.Option(help="`validation` while choosing, `test` once at the end.")] = "test",
    neighbours: Annotated[
        list[int] | None, typer.Option(help="k of the index. Repeatable. (default: 50, 100, 200)")
    ] = None,
    followed: Annotated[
        list[int] | None, typer.Option(help="m, triggers followed. Repeatable. (default: 10, 50)")
    ] = None,
    packed: Annotated[Path | None, typer.Option(help="A packed data set in place of the home's.")] = None,
    home: HomeOption = DEFAULT_HOME,
) -> None:
    """Say what greedy retrieval finds of what scoring every item finds, and at what cost in quality.

    Example: headwater paths recall recipes/ml-1m.toml --save channels/paths
    """
    from headwater.experiment.recall import recall_of_index, trained_paths
    from headwater.recipe import load_recipe
    from headwater.retrieval.paths.channel import Paths
    from headwater.show import print_index_recall, telling

    if part not in ("test", "validation"):
        raise typer.BadParameter(f"{part!r} is neither 'test' nor 'validation'", param_hint="--part")
    if artefact is not None and save is not None:
        raise typer.BadParameter("goes with a channel that is trained now", param_hint="--save")
    console = Console()
    chosen = load_recipe(recipe)
    with console.status("reading the data set") as status:
        data = chosen.load_dataset(home, packed=packed)
        split = chosen.split.split(data)
        if artefact is None:
            channel = trained_paths(chosen, split, say=telling(console, status))
            if save is not None:
                channel.save(save)
        else:
            channel = Paths.load(artefact, data.items)
        held_out = split.test if part == "test" else split.validation
        status.update("searching, exactly and along each index")
        status.start()
        found = list(
            recall_of_index(
                channel, split, held_out, neighbours=neighbours or [50, 100, 200], followed=followed or [10, 50]
            )
        )
    title = f"{data.name}: {len(data.items):,} items, {len(held_out):,} queries of the {part} part"
    print_index_recall(console, title, found)


def _shard(text: str) -> Shard:
    from headwater.index.generation import Shard

    index, slash, count = text.partition("/")
    if not (slash and index.isdecimal() and count.isdecimal() and int(index) < int(count)):
        raise typer.BadParameter(f"{text!r} is no part such as 0/8, the first of eight", param_hint="--shard")
    return Shard(int(index), int(count))

"""`headwater reproduce …`: a paper's tables and figures again, ours beside what was published."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME

reproduce_app = typer.Typer(help="Make a paper's tables and figures again, ours beside theirs.", no_args_is_help=True)


@reproduce_app.callback()
def papers() -> None:
    """Make a paper's tables and figures again, ours beside theirs."""


@reproduce_app.command("paths")
def paths(
    home: HomeOption = DEFAULT_HOME,
    packed: Annotated[
        Path | None, typer.Option(help="A packed data set in place of the home's, or a folder of such.")
    ] = None,
    recipes: Annotated[Path, typer.Option(help="Folder of recipes, one for each data set.")] = Path(
        "recipes/reproduce/paths"
    ),
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder of one JSON document for each job; done ones are kept. "
            "(default: docs/results/reproduce-paths; with --fast in the home)"
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the pages. (default: below reports in the home)")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="JOB", help="Run these jobs only, e.g. 'ml-1m/paths*'. Repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of the rows that matter most.", min=1)] = 3,
    fast: Annotated[bool, typer.Option("--fast", help="Everything once and small, on ml-100k, on a CPU.")] = False,
    is_list: Annotated[bool, typer.Option("--list", help="Name the jobs and what is done of them; run none.")] = False,
    is_run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run what is not done, or make tables of what there is.")
    ] = True,
) -> None:
    """The Path-based Deep Network (SIGIR 2021): Tables 2 and 4, ablations, Figures 7 and 8, and a case study.

    Each job trains and measures one model; tables are made of the documents that jobs leave, wherever they ran.

    Examples: headwater reproduce paths --fast; headwater reproduce paths --only ml-1m/paths/0
    """
    from headwater.reproduce.jobs import Documents, chosen_jobs, run_jobs
    from headwater.reproduce.paths.found import read_found
    from headwater.reproduce.paths.measure import measure
    from headwater.reproduce.paths.pages import write_report
    from headwater.reproduce.paths.plan import load_plan
    from headwater.reproduce.paths.tables import conclusions, sheets
    from headwater.reproduce.show import print_ended, print_jobs, print_sheet, print_words
    from headwater.show import telling

    console = Console()
    name = "reproduce-paths-fast" if fast else "reproduce-paths"
    documents = Documents(results or (home / "results" if fast else Path("docs/results")) / name)
    pages = report or home / "reports" / name
    jobs = load_plan(recipes, is_fast=fast, seeds=seeds)
    chosen = chosen_jobs(jobs, only or [])
    if is_list:
        print_jobs(console, chosen, documents)
        return
    has_failed = False
    if is_run:
        with console.status("reading the recipes") as status:
            for ended in run_jobs(chosen, documents, measure, home=home, packed=packed, say=telling(console, status)):
                print_ended(console, ended)
                # Who has not asked for a data set by name need not have it.
                has_failed |= ended.document is None and (bool(only) or not ended.lacks_data)
    found = read_found(jobs, documents, lambda text: console.print(text, soft_wrap=True, markup=False))
    for one in found:
        for sheet in sheets(one):
            print_sheet(console, sheet)
        print_words(console, conclusions(one))
    if found:
        page = write_report(found, pages, lambda text: console.print(text, markup=False))
        console.print(f"the same with pictures: {page}", soft_wrap=True, markup=False, highlight=False)
    if has_failed:
        raise typer.Exit(1)


@reproduce_app.command("divide")
def divide(
    home: HomeOption = DEFAULT_HOME,
    packed: Annotated[
        Path | None, typer.Option(help="A packed data set in place of the home's, or a folder of such.")
    ] = None,
    clusters: Annotated[
        Path | None,
        typer.Option(help="A file of `headwater data cluster`, or a folder of NAME.clusters.npz. (default: packed)"),
    ] = None,
    recipes: Annotated[Path, typer.Option(help="Folder of recipes, one for each data set.")] = Path(
        "recipes/reproduce/divide"
    ),
    results: Annotated[
        Path | None,
        typer.Option(
            help="Folder of one JSON document for each job; done ones are kept. "
            "(default: docs/results/reproduce-divide; with --fast in the home)"
        ),
    ] = None,
    report: Annotated[
        Path | None, typer.Option(help="Folder for the tables. (default: below reports in the home)")
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="JOB", help="Run these jobs only, e.g. 'ml-1m/divide*'. Repeatable.")
    ] = None,
    seeds: Annotated[int, typer.Option(help="Runs of the rows that matter most.", min=1)] = 3,
    fast: Annotated[bool, typer.Option("--fast", help="Everything once and small, on ml-100k, on a CPU.")] = False,
    is_list: Annotated[bool, typer.Option("--list", help="Name the jobs and what is done of them; run none.")] = False,
    is_run: Annotated[
        bool, typer.Option("--run/--no-run", help="Run what is not done, or make tables of what there is.")
    ] = True,
) -> None:
    """Divide and conquer (WWW 2023): Tables 2 to 4, Figure 1a, quotas over plain SASRec, losses, coverage.

    Each job trains and measures one model; tables are made of the documents that jobs leave, wherever they ran.

    Examples: headwater reproduce divide --fast; headwater reproduce divide --only ml-1m/divide/0
    """
    from functools import partial

    from headwater.reproduce.divide.found import read_found
    from headwater.reproduce.divide.measure import ALPHAS, measure
    from headwater.reproduce.divide.plan import load_plan
    from headwater.reproduce.divide.tables import sheets
    from headwater.reproduce.jobs import Documents, chosen_jobs, run_jobs
    from headwater.reproduce.show import print_ended, print_jobs, print_sheet
    from headwater.show import telling

    console = Console()
    name = "reproduce-divide-fast" if fast else "reproduce-divide"
    documents = Documents(results or (home / "results" if fast else Path("docs/results")) / name)
    jobs = load_plan(recipes, is_fast=fast, seeds=seeds)
    chosen = chosen_jobs(jobs, only or [])
    if is_list:
        print_jobs(console, chosen, documents)
        return
    has_failed = False
    if is_run:
        beside = packed if packed is None or packed.is_dir() else packed.parent
        measured = partial(measure, clusters=clusters or beside, alphas=(0.0, 1.0, 1e6) if fast else ALPHAS)
        with console.status("reading the recipes") as status:
            for ended in run_jobs(chosen, documents, measured, home=home, packed=packed, say=telling(console, status)):
                print_ended(console, ended)
                # Who has not asked for a data set by name need not have it.
                has_failed |= ended.document is None and (bool(only) or not ended.lacks_data)
    found = read_found(jobs, documents, lambda text: console.print(text, soft_wrap=True, markup=False))
    tables = [sheet for one in found for sheet in sheets(one)]
    for sheet in tables:
        print_sheet(console, sheet)
    if tables:
        folder = report or home / "reports" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tables.md").write_text("\n".join(sheet.markdown() for sheet in tables), encoding="utf-8")
        console.print(f"the same as Markdown: {folder / 'tables.md'}", soft_wrap=True, markup=False, highlight=False)
    if has_failed:
        raise typer.Exit(1)

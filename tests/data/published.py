"""Tiny made-up sets in the layouts that publishers use."""

import json
import zipfile
from pathlib import Path

# user, movie, rating, time: the same five ratings in every layout.
RATINGS = [
    (1, 20, 5, 978300760),
    (1, 10, 3, 978300760),
    (2, 30, 4, 978300000),
    (1, 30, 2, 978300001),
    (2, 20, 1, 978299999),
]
MOVIES = [
    (10, 'Quote "Unquote" (1990)', "Comedy|Drama"),
    (20, "Année Zéro, L' (Year Zero) (1948)", "Film-Noir"),
    (30, "Third Man, The (1949)", "Mystery|Thriller|War"),
    (40, "Nobody Saw It (1999)", "Drama"),
]
PEOPLE = [(1, "F", 1, 10, "48067"), (2, "M", 56, 16, "70072-1234")]


def archive(path: Path, files: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        for name, content in files.items():
            target.writestr(name, content)
    return path


def ml_1m_publisher() -> dict[str, bytes]:
    return {
        "ml-1m/README": b"read me",
        "ml-1m/ratings.dat": "".join(f"{u}::{m}::{r}::{t}\n" for u, m, r, t in RATINGS).encode(),
        "ml-1m/movies.dat": "".join(f"{m}::{title}::{genres}\n" for m, title, genres in MOVIES).encode("latin-1"),
        "ml-1m/users.dat": "".join("::".join(map(str, person)) + "\n" for person in PEOPLE).encode(),
    }


def ml_1m_package() -> dict[str, bytes]:
    titles = {movie: title for movie, title, _ in MOVIES}
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    ratings += [f"1m_{u}\t{titles[m]}\t{r}\t{t}" for u, m, r, t in RATINGS]
    items = ["item_id:token\tmovie_title:token\trelease_year:float\tgenre:token"]
    items += [f"{title}\t{title[:-7]}\t{title[-5:-1]}\t{genres.replace('|', ' ')}" for _, title, genres in MOVIES]
    users = ["user_id:token\tage:float\tgender:token\toccupation:float\tzip_code:token"]
    users += [f"1m_{u}\t{age}\t{gender}\t{job}\t{code}" for u, gender, age, job, code in PEOPLE]
    folder = "some_package/dataset_example/ml-1m/ml-1m"
    parts = {"inter": ratings, "item": items, "user": users}
    return {f"{folder}.{part}": ("\r\n".join(lines) + "\r\n").encode() for part, lines in parts.items()} | {
        "some_package/utils.py": b"print()"
    }


GENRES = ["unknown", "Action", "Adventure", "Animation", "Children's", "Comedy", "Crime", "Documentary", "Drama"]
GENRES += ["Fantasy", "Film-Noir", "Horror", "Musical", "Mystery", "Romance", "Sci-Fi", "Thriller", "War", "Western"]
FILMS = [
    (10, "Toys (1995)", ["Animation", "Children's", "Comedy"]),
    (20, "Cérémonie, La (1995)", ["Drama"]),
    (30, "Long Ago III (1995) (V)", ["Animation", "Western"]),
    (40, "unknown", ["unknown"]),
]
RATERS = [(1, 24, "M", "technician", "85711"), (2, 53, "F", "other", "V1G4L")]
FILM_RATINGS = [*RATINGS, (2, 40, 3, 978300002)]


def ml_100k_publisher() -> dict[str, bytes]:
    items = [
        f"{film}|{title}|{'' if title == 'unknown' else '01-Jan-1995'}||"
        f"{'' if title == 'unknown' else 'http://example.org/'}|{'|'.join(str(int(genre in own)) for genre in GENRES)}"
        for film, title, own in FILMS
    ]
    return {
        "ml-100k/u.data": "".join(f"{u}\t{m}\t{r}\t{t}\n" for u, m, r, t in FILM_RATINGS).encode(),
        "ml-100k/u.item": ("\n".join(items) + "\n").encode("latin-1"),
        "ml-100k/u.user": "".join("|".join(map(str, rater)) + "\n" for rater in RATERS).encode(),
        "ml-100k/u1.base": b"not read",
    }


def ml_100k_package() -> dict[str, bytes]:
    split = {
        10: ("Toys", "1995"),
        20: ("Cérémonie, La", "1995"),
        30: ("Long Ago III (1995)", "V"),
        40: ("unkonwn", "unkonwn"),
    }
    items = ["item_id:token\tmovie_title:token_seq\trelease_year:token\tclass:token_seq"]
    items += [f"{film}\t{split[film][0]}\t{split[film][1]}\t{' '.join(own)}" for film, _, own in FILMS]
    ratings = ["user_id:token\titem_id:token\trating:float\ttimestamp:float"]
    ratings += ["\t".join(map(str, row)) for row in FILM_RATINGS]
    users = ["user_id:token\tage:token\tgender:token\toccupation:token\tzip_code:token"]
    users += ["\t".join(map(str, rater)) for rater in RATERS]
    folder = "some_package/dataset_example/ml-100k/ml-100k"
    parts = {"inter": ratings, "item": items, "user": users}
    return {f"{folder}.{part}": ("\n".join(lines) + "\n").encode() for part, lines in parts.items()}


def beauty() -> dict[str, bytes]:
    """Item 5 has a brand of its own (99) first; nearly everything is of department 1."""
    return {
        "Beauty.txt": b"1 3 5 2\n2 5 3\n3 2 7\n",
        "Beauty_item2attributes.json": b'{"3": [1, 8], "5": [99, 1, 8, 1], "2": [1, 9], "4": [1]}',
    }


def pinterest() -> dict[str, bytes]:
    """Users 0 and 1; the file's order is not that of time for user 1, whose first line has the latest time."""
    return {
        "Data/pinterest-20.train.rating": b"0\t7\t1\t0\n0\t9\t1\t0\n1\t9\t1\t5\n1\t8\t1\t2\n1\t6\t1\t2\n",
        "Data/pinterest-20.test.rating": b"0\t6\t1\t0\n1\t7\t1\t9\n",
        "Data/pinterest-20.test.negative": b"(0,6)\t8\t5\n(1,7)\t5\t4\n",
    }


BOOK_RATINGS = b"ANN,0001,5.0,1400000000\nBOB,0002,1.0,1300000000\nANN,0002,4.0,1200000000\n"


def book_reviews() -> bytes:
    """The same three, with text that is not read."""
    rows = [line.split(",") for line in BOOK_RATINGS.decode().splitlines()]
    lines = [
        json.dumps(
            {
                "reviewerID": u,
                "asin": i,
                "overall": float(r),
                "unixReviewTime": int(t),
                "reviewText": "a\\nb {",
                "x": [1],
            }
        )
        for u, i, r, t in rows
    ]
    return ("\n".join(lines) + "\n").encode()

"""The nearline verbs as a user runs them: each in a process of its own, on a small home."""

import json
import os
import pty
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import pytest

from headwater.data import key_of
from headwater.nearline import DirectorySource, Policy, RankedItem, RankLog, RedisRankLog, Stream, UserEvent, Visit
from headwater.nearline.columns import partition_of
from headwater.nearline.lookup import look_up
from headwater.profile.history import Profile
from headwater.store import LmdbStore, RedisStore
from redis_server import RedisServer

NOW = int(time.time())
MIDNIGHT = NOW // 86_400 * 86_400
YESTERDAY = MIDNIGHT - 3_600


def environment(cwd: Path, **more: str) -> dict[str, str]:
    return {"PATH": "/usr/bin:/bin", "COLUMNS": "120", "HOME": str(cwd), **more}


def headwater(*words: str, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "headwater", *words]
    return subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, env=environment(cwd, **more), check=False, timeout=120
    )


@contextmanager
def started(*words: str, cwd: Path, out: int, **more: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [sys.executable, "-m", "headwater", *words]
    process = subprocess.Popen(command, cwd=cwd, stdout=out, stderr=subprocess.STDOUT, env=environment(cwd, **more))
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def wait_until(is_so: Callable[[], bool], process: subprocess.Popen[bytes], out: Path) -> None:
    deadline = time.monotonic() + 120
    while not is_so():
        assert process.poll() is None, out.read_text()
        assert time.monotonic() < deadline, out.read_text()
        time.sleep(0.02)


def visit(user: int, request_id: str, timestamp: int, items: list[str], scenario: str = "mini_detail") -> Visit:
    ranked = [RankedItem(key_of(item), 0.5) for item in items]
    return Visit(request_id=request_id, scenario=scenario, user=user, timestamp=timestamp, items=ranked)


RECORDS = [
    visit(7, "r1", YESTERDAY, ["a", "b", "c"]),
    visit(7, "r2", YESTERDAY + 60, ["d"], "homepage"),
    UserEvent(user=7, item=key_of("b"), behaviour="click", timestamp=YESTERDAY + 90),
    visit(key_of("ann"), "r3", YESTERDAY, ["a"]),
    visit(7, "r4", max(NOW - 60, MIDNIGHT), ["e", "a"], "main_search"),
]


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A working directory with a rank log, one bad line in it."""
    log = RankLog(tmp_path / ".headwater" / "log")
    log.append_many(RECORDS)
    log.close()
    (tmp_path / ".headwater" / "log" / "0.jsonl").write_bytes(b'{"type":"visit","user":7}\n')
    return tmp_path


@pytest.fixture
def streamed(place: Path) -> Path:
    """The same, with what a stream made of it."""
    store = LmdbStore(place / ".headwater" / "store")
    Stream(DirectorySource(place / ".headwater" / "log"), store, Policy()).run_once()
    Profile(store).append(7, [key_of("b")], [YESTERDAY + 90], [1])
    store.close()
    return place


# -- stream


def test_a_stream_shows_plain_lines_and_its_figures_over_http_until_it_is_interrupted(place: Path) -> None:
    out = place / "out.txt"
    with (
        out.open("wb") as file,
        started("stream", "--metrics-port", "0", cwd=place, out=file.fileno()) as process,
        httpx.Client(trust_env=False) as client,
    ):
        wait_until(lambda: "/metrics\n" in out.read_text(), process, out)
        url = out.read_text().split("figures for Prometheus at ")[1].split()[0]
        wait_until(lambda: "headwater_stream_records_total 5.0\n" in client.get(url).text, process, out)
        assert "headwater_stream_dead_letters_total 1.0\n" in client.get(url).text
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=60) == 0
    said = out.read_text()
    assert "5 records; " in said
    assert "nothing waits; 1 dead letters; 2 users in 0.0 MB" in said
    assert "0.jsonl, byte 0: refused: Object missing required field" in said


def test_on_a_terminal_the_status_is_alive(place: Path) -> None:
    ours, theirs = pty.openpty()
    with started("stream", cwd=place, out=theirs, TERM="xterm") as process:
        os.close(theirs)
        said = b""
        while b"5" not in said or b"nothing waits" not in said:
            said += os.read(ours, 4_096)
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    os.close(ours)
    for word in (b"records", b"a second", b"dead letters", b"users"):
        assert word in said


def test_a_changed_policy_file_is_used_by_the_running_stream_and_a_faulty_one_reported(place: Path) -> None:
    def n_candidates() -> int:
        known = look_up(store, 7, ["main_search"])
        return 0 if known is None else len(known.candidates.get("main_search", ()))

    policy, out = place / "policy.toml", place / "out.txt"
    policy.write_text("k = 1\n")
    store, log = LmdbStore(place / ".headwater" / "store"), RankLog(place / ".headwater" / "log")
    with (
        out.open("wb") as file,
        started("stream", "--policy", "policy.toml", "--quiet", cwd=place, out=file.fileno()) as process,
    ):
        for text, n in (("", 1), ("k = 2\n", 2), ("kk = 3\n", 2)):
            if text:
                policy.write_text(text)
                log.append(visit(7, f"r-{text}", NOW, ["x", "y", "z"], "main_search"))
            wait_until(lambda n=n: n_candidates() == n, process, out)
        wait_until(lambda: "did you mean 'k'" in out.read_text(), process, out)
    log.close()
    store.close()


def test_log_and_store_may_be_on_a_server_and_partitions_share_the_users(
    place: Path, redis_server: RedisServer
) -> None:
    log = RedisRankLog(redis_server.url, "shop")
    log.append_many([visit(user, "r", NOW - 5, ["a"]) for user in range(20)])
    log.close()
    store = RedisStore(redis_server.url, prefix="shop")

    def n_known() -> int:
        return sum(look_up(store, user) is not None for user in range(20))

    own = int((partition_of(np.arange(20), 2) == 0).sum())
    out = place / "out.txt"
    for part, n in (("0/2", own), ("1/2", 20)):
        words = ["stream", "--quiet", "--log", f"{redis_server.url}&stream=shop", "--partition", part, "--batch", "3"]
        with (
            out.open("wb") as file,
            started(*words, cwd=place, out=file.fileno(), HEADWATER_STORE=f"{redis_server.url}&prefix=shop") as process,
        ):
            wait_until(lambda n=n: n_known() >= n, process, out)
            time.sleep(0.2)
            assert n_known() == n
    done = headwater("nearline", "get", "7", "--store", f"{redis_server.url}&prefix=shop", "--json", cwd=place)
    assert json.loads(done.stdout)["key"] == 7
    store.close()


# -- replay and batch


def test_batch_mode_and_glare_write_what_was_known_at_midnight(place: Path) -> None:
    done = headwater("nearline", "batch", "--at", str(MIDNIGHT - 1), "--into", "daily.jsonl", cwd=place)
    assert done.returncode == 0, done.stderr
    assert "4 records up to" in done.stdout
    assert "refused: 0.jsonl, byte 0:" in done.stdout
    lines = [json.loads(line) for line in (place / "daily.jsonl").read_text().splitlines()]
    assert sorted((line["user"], line["scenario"]) for line in lines) == sorted(
        [(7, "mini_detail"), (key_of("ann"), "mini_detail")]
    )
    done = headwater("nearline", "batch", "--glare", "--into", "glare", cwd=place)
    assert "1 users with candidates" in done.stdout
    shown = json.loads(headwater("nearline", "get", "7", "--store", "glare", "--json", cwd=place).stdout)
    assert list(shown["queues"]) == ["homepage"]


def test_a_replay_is_as_of_its_time_and_leaves_a_live_streams_store_alone(streamed: Path) -> None:
    window = ("--from", str(YESTERDAY + 1), "--until", str(YESTERDAY + 100))
    done = headwater("stream", "replay", *window, "--into", "past", cwd=streamed)
    assert done.returncode == 0, done.stderr
    assert "2 records up to" in done.stdout
    done = headwater("stream", "replay", "--into", ".headwater/store", cwd=streamed)
    assert done.returncode == 1
    assert "live stream ('stream')" in done.stderr
    done = headwater(
        "stream", "replay", "--until", str(YESTERDAY), "--into", ".headwater/store", "--overwrite", cwd=streamed
    )
    assert done.returncode == 0, done.stderr
    shown = json.loads(headwater("nearline", "get", "7", "--json", cwd=streamed).stdout)
    assert (list(shown["queues"]), shown["newest"]) == (["mini_detail"], YESTERDAY)


# -- get


def test_get_shows_queues_and_why_each_candidate_is_one(streamed: Path) -> None:
    done = headwater("nearline", "get", "7", cwd=streamed)
    assert done.returncode == 0, done.stderr
    for word in (
        "newest record",
        "1 items clicked",
        "r1",
        "r4",
        "the best 3 of 3 candidates",
        "main_search",
        "23:00:00 UTC",
    ):
        assert word in done.stdout
    done = headwater("nearline", "get", "7", "--scenario", "mini_detail", "--json", cwd=streamed)
    found = json.loads(done.stdout)
    assert [(row["item"], row["rank"]) for row in found["candidates"]] == [(key_of("a"), 0), (key_of("c"), 2)]
    assert found["candidates"][0]["score"] == 1.0
    assert found["candidates"][0]["age_seconds"] >= NOW - YESTERDAY
    assert found["acted"] == [{"item": key_of("b"), "timestamp": YESTERDAY + 90}]


def test_an_id_that_is_a_text_finds_its_user(streamed: Path) -> None:
    found = json.loads(headwater("nearline", "get", "ann", "--json", cwd=streamed).stdout)
    assert (found["key"], list(found["queues"])) == (key_of("ann"), ["mini_detail"])


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("nearline", "get", "999"), "never seen"),
        (("nearline", "get", "7", "--store", "elsewhere"), "no store in elsewhere"),
        (("forget", "7", "--home", "elsewhere"), "no store in elsewhere"),
        (("stream", "replay", "--into", "x", "--log", "elsewhere"), "no folder of log files"),
        (("stream", "replay", "--into", ".headwater/log/x.jsonl"), "lies in the log"),
        (("stream", "replay", "--into", ".headwater/log"), "lies in the log"),
        (("stream", "replay", "--into", "x", "--from", "2026-11-22", "--until", "2026-11-21"), "lies after --until"),
        (("stream", "--log", "amqp://x"), "scheme 'amqp'"),
        (("stream", "--metrics-port", "0", "--metrics-host", "0.0.0.0"), "HEADWATER_TOKEN"),
        (("ranklog", "validate", "nothing.jsonl"), "nothing.jsonl is no file"),
    ],
)
def test_a_mistake_is_one_clear_message(streamed: Path, words: tuple[str, ...], says: str) -> None:
    done = headwater(*words, cwd=streamed)
    assert done.returncode == 1
    assert says in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr + done.stdout
    assert not (streamed / "elsewhere").exists(), "looking makes nothing"


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("stream", "--partition", "2/2"), "'2/2' is not I/N"),
        (("stream", "replay", "--into", "x", "--until", "yesterday"), "'yesterday' is no time"),
    ],
)
def test_an_option_that_cannot_be_read_is_refused(place: Path, words: tuple[str, ...], says: str) -> None:
    done = headwater(*words, cwd=place)
    assert done.returncode == 2
    assert says in " ".join(done.stderr.replace("│", " ").split())


# -- forget


def test_forget_says_what_was_removed_and_what_it_does_not_reach(streamed: Path) -> None:
    done = headwater("forget", "7", cwd=streamed)
    assert done.returncode == 0, done.stderr
    assert "1 events of the profile, 2 queued visits, 1 acted items, 4 candidates, 1 dead letters" in done.stdout
    assert "2 log files" in done.stdout
    assert "forgotten" in headwater("nearline", "get", "7", cwd=streamed).stdout
    assert "nothing was known" in headwater("forget", "7", cwd=streamed).stdout


# -- ranklog


def test_ranklog_validates_and_converts_with_an_exit_status_that_scripts_can_use(place: Path) -> None:
    bad, good = sorted((place / ".headwater" / "log").iterdir())
    done = headwater("ranklog", "validate", str(bad), str(good), cwd=place)
    assert done.returncode == 1
    assert "4 visits of 7 items, 1 events, 0 bad" in done.stdout
    assert f"{bad}:1: Object missing required field" in done.stdout
    done = headwater("ranklog", "convert", str(good), "log.arrows", cwd=place)
    assert done.returncode == 0, done.stderr
    assert headwater("ranklog", "validate", "log.arrows", cwd=place).returncode == 0
    done = headwater("ranklog", "convert", str(bad), "bad.arrows", cwd=place)
    assert (done.returncode, (place / "bad.arrows").exists()) == (1, False)
    assert "was not written" in done.stdout


def test_every_nearline_verb_explains_itself_by_an_example(tmp_path: Path) -> None:
    for words in (
        ("stream",),
        ("stream", "replay"),
        ("nearline", "get"),
        ("nearline", "batch"),
        ("forget",),
        ("ranklog", "validate"),
        ("ranklog", "convert"),
    ):
        done = headwater(*words, "--help", cwd=tmp_path)
        assert f"Example: headwater {' '.join(words)} " in " ".join(done.stdout.split()) + " "

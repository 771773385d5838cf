"""The one measure that three systems share must be right, or the comparison says nothing."""

from __future__ import annotations

import importlib.util
import json
import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from headwater.data import Dataset, Queries, Vocabulary, leave_one_out
from headwater.data.packed import pack
from headwater.metrics import FullRanking
from headwater.nn.batches import NextItemBatches
from headwater.nn.sequences import Histories
from headwater.retrieval import Candidates, Mask, Reasons, evaluate

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


def load(path: Path) -> ModuleType:
    """A script as a module; benchmarks are no package."""
    spec = importlib.util.spec_from_file_location(f"benchmark_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


measure = load(BENCHMARKS / "training_runs" / "measure.py")
training = load(BENCHMARKS / "training.py")


def dataset(histories: list[list[int]], n_items: int) -> Dataset:
    users = np.repeat(np.arange(len(histories)), [len(history) for history in histories])
    return Dataset.from_events(
        "small",
        Vocabulary(np.arange(len(histories))),
        Vocabulary(np.arange(n_items)),
        event_users=users.astype(np.int32),
        event_items=np.array([item for history in histories for item in history], np.int32),
        event_times=np.arange(len(users)),
    )


def generated(n_users: int, n_items: int, seed: int) -> Dataset:
    """Random histories; the first user's training part holds every item, so that all are candidates."""
    rng = np.random.default_rng(seed)
    histories = [rng.integers(0, n_items, rng.integers(3, 12)).tolist() for _ in range(n_users - 1)]
    return dataset([[*range(n_items), 0, 0], *histories], n_items)


def problem_of(data: Dataset, folder: Path) -> Any:
    pack(data, folder / "data.npz")
    return measure.Problem(folder / "data.npz")


class Table:
    """A channel that reads scores from a table with a row for each user."""

    name = "table"

    def __init__(self, scores: np.ndarray) -> None:
        self.scores = scores

    def retrieve(self, queries: Queries, k: int, *, allowed: Mask | None = None) -> Candidates:
        n_items = self.scores.shape[1]
        rows = np.repeat(np.arange(len(queries)), n_items)
        items = np.tile(np.arange(n_items, dtype=np.int32), len(queries))
        scores = self.scores[queries.users].reshape(-1)
        is_kept = np.ones(len(rows), bool) if allowed is None else allowed.allows(rows, items)
        order = np.lexsort((items[is_kept], -scores[is_kept], rows[is_kept]))
        rows, items, scores = rows[is_kept][order], items[is_kept][order], scores[is_kept][order]
        rank = np.arange(len(rows)) - np.searchsorted(rows, rows)
        return Candidates.single(self.name, len(queries), rows[rank < k], items[rank < k], scores[rank < k])

    def explain(self, queries: Queries, candidates: Candidates) -> Reasons:
        raise NotImplementedError


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10_000), levels=st.sampled_from([3, 1000]))
def test_the_shared_figure_is_that_of_our_own_evaluation_ties_and_repeated_targets_included(
    seed: int, levels: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    data = generated(n_users=30, n_items=25, seed=seed)
    problem = problem_of(data, tmp_path_factory.mktemp("packed"))
    scores = np.random.default_rng(seed).integers(0, levels, (30, 25)).astype(np.float32)
    split = leave_one_out(data)
    ours = evaluate(Table(scores), split.validation, FullRanking(), train=split.train, ks=(10,))
    shared = problem.ndcg(lambda users: torch.from_numpy(scores[users]))
    assert shared == pytest.approx(ours.metrics["ndcg@10"], abs=1e-6)


def test_the_problem_holds_the_same_histories_and_targets_as_our_split(tmp_path: Path) -> None:
    data = generated(n_users=20, n_items=15, seed=1)
    problem = problem_of(data, tmp_path)
    validation = leave_one_out(data).validation
    assert np.array_equal(problem.items, validation.queries.items)
    assert np.array_equal(problem.offsets, validation.queries.offsets)
    assert np.array_equal(problem.targets, validation.targets)


def test_a_figure_worked_by_hand(tmp_path: Path) -> None:
    # User 0: history 0, 1; target 2 stands second behind 3. User 1: history 3; target 1 ties with 0 and 2, so third.
    problem = problem_of(dataset([[0, 1, 2, 0], [3, 1, 2], [2, 3, 0]], 4), tmp_path)
    scores = torch.tensor([[9.0, 9.0, 5.0, 6.0], [1.0, 1.0, 1.0, 7.0], [0.0, 0.0, 0.0, 8.0]])
    # User 2: history 2; target 3 stands first.
    expected = (1 / math.log2(3) + 1 / math.log2(4) + 1) / 3
    assert problem.ndcg(lambda users: scores[users].clone()) == pytest.approx(expected, abs=1e-6)


def test_a_target_that_nobody_could_learn_of_is_missed(tmp_path: Path) -> None:
    problem = problem_of(dataset([[0, 1, 2, 0], [0, 1, 1]], 3), tmp_path)
    assert problem.candidates.tolist() == [0, 1]
    # User 0's target, item 2, is no candidate; user 1's, item 1, is the only unseen one.
    assert problem.ndcg(lambda users: torch.zeros(len(users), 2)) == pytest.approx(0.5)


def test_an_item_that_a_system_does_not_know_is_no_hit(tmp_path: Path) -> None:
    problem = problem_of(dataset([[0, 2, 1, 0], [0, 1, 2, 0]], 3), tmp_path)
    scores = torch.tensor([[0.0, -torch.inf, -torch.inf], [0.0, 0.0, 1.0]])
    assert problem.ndcg(lambda users: scores[users].clone()) == pytest.approx(0.5)


def test_a_user_with_too_short_a_history_is_refused_by_number(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="user 1 has fewer than 3 events"):
        problem_of(dataset([[0, 1, 2], [0, 1]], 3), tmp_path)


@pytest.mark.parametrize("length", [3, 50])
def test_positives_of_an_epoch_are_those_that_our_batches_train(length: int, tmp_path: Path) -> None:
    data = generated(n_users=20, n_items=15, seed=2)
    histories = Histories.from_dataset(leave_one_out(data).train, torch.device("cpu"))
    batches = NextItemBatches(histories, length, batch_size=7)
    trained = sum(batches.batch(0, step).n_positives for step in range(batches.steps))
    assert problem_of(data, tmp_path).window_positives(length) == trained


def test_the_watch_leaves_validations_out_and_stops_at_the_target() -> None:
    now = [100.0]
    values = iter([0.1, 0.3])

    def validate() -> float:
        now[0] += 50.0
        return next(values)

    watch = measure.Watch(target=0.3, seconds=1_000.0, device="cpu", clock=lambda: now[0], processor=lambda: now[0] / 2)
    watch.start()
    now[0] += 2.0
    assert watch.check(10, 40, validate)
    now[0] += 3.0
    assert not watch.check(20, 80, validate)
    figures = watch.figures()
    assert figures["is_target_reached"]
    assert figures["seconds"] == 5.0
    assert figures["processor_seconds"] == 2.5
    assert figures["passes_per_second"] == 4.0
    assert figures["positives_per_second"] == 16.0


def test_a_target_never_reached_is_said_to_be_missed_at_the_time_limit() -> None:
    now = [0.0]
    watch = measure.Watch(target=0.9, seconds=4.0, device="cpu", clock=lambda: now[0])
    watch.start()
    now[0] = 5.0
    assert not watch.check(10, 40, lambda: 0.2)
    assert not watch.figures()["is_target_reached"]
    assert watch.figures()["seconds"] == 5.0
    assert watch.figures()["best_ndcg@10"] == 0.2


def smoke(packed: Path, **changes: Any) -> dict[str, Any]:
    asked = {name: value for name, value in training.PRESETS["smoke"].items() if name != "dataset"}
    return asked | {"packed": str(packed), "threads": 1, "seed": 0} | changes


def test_our_side_of_the_benchmark_runs_to_its_target(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(generated(n_users=12, n_items=10, seed=3), tmp_path / "data.npz")
    asked = smoke(tmp_path / "data.npz", target=0.01)
    figures = training.run("headwater", sys.executable, asked, tmp_path, wall_limit=300.0)
    assert "error" not in figures, figures["error"]
    assert figures["is_target_reached"]
    assert figures["shared_evaluation"]["ndcg@10"] == pytest.approx(figures["curve"][-1]["ndcg@10"], abs=1e-5)
    logged = (tmp_path / "headwater" / "curve.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in logged] == figures["curve"]
    training.print_table({"headwater": figures}, target=0.01)
    assert "| Headwater | " in capsys.readouterr().out


def script(path: Path, body: str) -> str:
    """An executable that stands where a peer's Python does."""
    path.write_text(f"#!{sys.executable}\n{body}\n")
    path.chmod(0o755)
    return str(path)


def test_a_system_that_fails_says_why_by_its_last_line(tmp_path: Path) -> None:
    python = script(tmp_path / "broken", "raise ModuleNotFoundError('no recbole here')")
    figures = training.run("recbole", python, smoke(tmp_path / "data.npz"), tmp_path, wall_limit=60.0)
    assert figures["error"] == "ended with status 1: ModuleNotFoundError: no recbole here"
    assert figures["log"][-1] == "ModuleNotFoundError: no recbole here"
    assert figures["curve"] == []


def test_a_system_that_is_not_there_is_named(tmp_path: Path) -> None:
    figures = training.run("recbole", "/no/such/python", smoke(tmp_path), tmp_path, wall_limit=60.0)
    assert figures["error"] == "/no/such/python does not start: No such file or directory"


def test_a_system_killed_at_the_wall_limit_keeps_its_curve(tmp_path: Path) -> None:
    body = "import time; open('curve.jsonl', 'w').write('{\"ndcg@10\": 0.25}\\n'); time.sleep(600)"
    python = script(tmp_path / "endless", body)
    figures = training.run("rectools", python, smoke(tmp_path), tmp_path, wall_limit=2.0)
    assert figures["error"] == "killed at the wall limit of 2 s"
    assert figures["curve"] == [{"ndcg@10": 0.25}]


def test_a_failed_system_has_a_row_and_the_others_are_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    pack(generated(n_users=12, n_items=10, seed=3), tmp_path / "data.npz")
    broken = script(tmp_path / "broken", "print('a | b'); raise SystemExit(3)")
    results = tmp_path / "results.json"
    arguments = ["--preset", "smoke", "--packed", str(tmp_path / "data.npz"), "--results", str(results)]
    monkeypatch.setattr(sys, "argv", ["training.py", *arguments, "--rectools-python", broken, "--target", "0.01"])
    assert training.main() == 1
    systems = json.loads(results.read_text())["smoke"]["systems"]
    assert systems["headwater"]["is_target_reached"]
    assert systems["rectools"]["error"] == "ended with status 3: a | b"
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| RecTools")]
    assert rows == ["| RecTools | not measured: ended with status 3: a / b | - | 0.0000 |" + " - |" * 7]


def test_presets_are_kept_side_by_side(tmp_path: Path) -> None:
    path = tmp_path / "results" / "figures.json"
    training.save(path, "cpu", {"date": "first"})
    training.save(path, "gpu", {"date": "second"})
    training.save(path, "cpu", {"date": "third"})
    assert json.loads(path.read_text()) == {"cpu": {"date": "third"}, "gpu": {"date": "second"}}

"""Days in time order, one pass each; resumed at any of them; weights and moments inherited by a grown model."""

import json
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch import nn

import fit_days
from headwater.data import Impressions, Vocabulary
from headwater.errors import ArtefactError, ConfigError, LineageError
from headwater.nn.checkpoint import STATE, load_parameters
from headwater.nn.inheritance import inherit
from headwater.ranking.batches import DayBatches, InputColumns
from headwater.ranking.din import DIN, DINConfig
from headwater.ranking.features import RankingFeatures
from headwater.ranking.model import ImpressionModel, model_class
from headwater.ranking.training import Pointwise
from made_up import PER_DAY, SMALL, TRAINING, impressions

PROGRAM = Path(fit_days.__file__)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def batches(data: Impressions, batch_size: int = 70) -> DayBatches:
    config = DINConfig(**SMALL)
    device = torch.device("cpu")
    columns = InputColumns(data, RankingFeatures.of(data, config), config, device)
    return DayBatches(data, columns, batch_size, seed=3, device=device)


# -- batches


def test_each_impression_is_learned_from_once_on_its_day() -> None:
    data = impressions(3)
    made = batches(data)
    assert made.days == [0, 1, 2]
    for epoch in range(3):
        assert made.steps_of(epoch) == -(-PER_DAY // 70)
        items = torch.cat([made.batch(epoch, step).inputs.items for step in range(made.steps_of(epoch))])
        expected = data.item_codes[data.days == epoch] + 1
        assert sorted(items.tolist()) == sorted(expected.tolist())
        assert items.tolist() != expected.tolist()


def test_processes_share_a_batch_without_rest() -> None:
    made = batches(impressions(2))
    whole = made.batch(1, 2)
    parts = [made.batch(1, 2, process=process, n_processes=3) for process in range(3)]
    assert torch.equal(torch.cat([part.inputs.items for part in parts]), whole.inputs.items)
    assert {part.n_samples["cart"] for part in parts} == {whole.n_samples["cart"]}


def test_behaviour_sequences_hold_the_latest_events_strictly_before() -> None:
    data = impressions(4)
    config = DINConfig(**SMALL)
    columns = InputColumns(data, RankingFeatures.of(data, config), config, torch.device("cpu"))
    start, stop = data.history_slices(10)
    rows = np.arange(600, 660)
    history = columns.inputs(rows).history
    for at, row in enumerate(rows):
        expected = (data.history_items[start[row] : stop[row]] + 1).tolist()
        assert history[at].tolist() == expected + [0] * (history.shape[1] - len(expected))
        assert (data.history_times[start[row] : stop[row]] < data.times[row]).all()


def test_the_loss_is_the_sum_of_the_tasks_means_over_what_each_is_asked_of() -> None:
    data = impressions(2)
    config = DINConfig(**SMALL)
    network = DIN(config).new_network(RankingFeatures.of(data, config)).eval()
    batch = batches(data).batch(1, 0)
    logits = network(batch.inputs)
    clicked = batch.labels["click"] == 1
    expected = sum(
        nn.functional.binary_cross_entropy_with_logits(logits[task][asked], batch.labels[task][asked])
        for task, asked in (("click", clicked | ~clicked), ("cart", clicked), ("conversion", clicked))
    )
    torch.testing.assert_close(Pointwise(network, config)(batch), expected)


def test_a_day_without_clicks_is_learned_from() -> None:
    data = impressions(3)
    labels = {task: np.where(data.days == 1, 0, values).astype(np.int8) for task, values in data.labels.items()}
    ranker = DIN(DINConfig(**SMALL)).fit(replace(data, labels=labels))
    assert all(np.isfinite(values).all() for values in ranker.predict(data).values())


# -- learning


def test_tomorrow_is_predicted_better_than_by_chance_and_before_it_is_learned_from() -> None:
    data = impressions(6)
    told: list[int] = []
    areas: list[float] = []

    def each_day(ranker: DIN, day: int) -> None:
        told.append(day)
        today = data.select(data.days == day)
        found = ranker.predict(today)
        assert set(found) == {"click", "cart", "conversion"}
        assert found["click"].dtype == np.float32
        areas.append(float(roc_auc_score(today.labels["click"], found["click"])))

    ranker = DIN(DINConfig(**SMALL)).fit(data, each_day=each_day, validate=lambda _: 0.25)
    assert told == [0, 1, 2, 3, 4, 5]
    assert areas[-1] > 0.7
    assert areas[0] < 0.6  # of a network that has learned nothing
    assert ranker.report is not None
    assert (ranker.report.epochs, ranker.report.best_value) == (6, 0.25)
    assert len(ranker.report.curve) == 6


def test_watching_changes_nothing() -> None:
    data = impressions(3)
    plain = DIN(DINConfig(**SMALL)).fit(data)
    watched = DIN(DINConfig(**SMALL)).fit(data, each_day=lambda ranker, _: ranker.predict(data) and None)
    assert plain.predict(data)["click"].tobytes() == watched.predict(data)["click"].tobytes()


def test_more_than_one_pass_is_refused() -> None:
    with pytest.raises(ValueError, match=r"training\.epochs must be 1"):
        DINConfig(training=TRAINING.model_copy(update={"epochs": 2}))


# -- resuming


def run(*arguments: str) -> None:
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_a_killed_process_is_resumed_to_the_same_bits(tmp_path: Path) -> None:
    killed, whole = tmp_path / "killed", tmp_path / "whole"
    killed.mkdir()
    whole.mkdir()
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(killed), "6", "0.2"], stderr=subprocess.PIPE)
    state = killed / "checkpoint" / STATE
    while not state.exists() or json.loads(state.read_text())["progress"]["epoch"] < 3:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "ranker").exists()

    run(str(PROGRAM), str(killed), "6", "0")
    fit_days.main(whole, 6, 0)
    told = [int(day) for day in (killed / "told").read_text().split()]
    assert sorted(set(told)) == list(range(6))
    assert told.count(0) == 1  # it went on, and did not begin anew
    saved = [(folder / "ranker" / "tensors.safetensors").read_bytes() for folder in (killed, whole)]
    assert saved[0] == saved[1]


def test_a_log_that_has_grown_goes_on_from_where_it_ended(tmp_path: Path) -> None:
    config = DINConfig(**SMALL)
    DIN(config).fit(impressions(3), checkpoint=tmp_path / "grown")
    told: list[int] = []
    grown = DIN(config).fit(
        impressions(5), checkpoint=tmp_path / "grown", resume=True, each_day=lambda _, day: told.append(day)
    )
    assert told == [3, 4]
    whole = DIN(config).fit(impressions(5))
    data = impressions(6)
    assert grown.predict(data)["click"].tobytes() == whole.predict(data)["click"].tobytes()


def test_a_checkpoint_of_other_days_settings_or_ids_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "checkpoint"
    DIN(DINConfig(**SMALL)).fit(impressions(3), checkpoint=folder)
    with pytest.raises(ConfigError, match="belongs to other training data"):
        DIN(DINConfig(**SMALL)).fit(impressions(3, seed=1), checkpoint=folder, resume=True)
    with pytest.raises(ConfigError, match="belongs to other settings"):
        DIN(DINConfig(**{**SMALL, "dimension": 6})).fit(impressions(3), checkpoint=folder, resume=True)
    others = replace(impressions(3), items=Vocabulary([f"other {code}" for code in range(40)]))
    with pytest.raises(LineageError, match="belongs to another vocabulary"):
        DIN(DINConfig(**SMALL)).fit(others, checkpoint=folder, resume=True)


def test_days_that_come_one_by_one_give_the_bits_of_one_call() -> None:
    data = impressions(4)
    one = DIN(DINConfig(**SMALL)).fit(data)
    several = DIN(DINConfig(**SMALL))
    for day in range(4):
        several.fit(data.select(data.days == day))
    assert several.predict(data)["click"].tobytes() == one.predict(data)["click"].tobytes()
    with pytest.raises(LineageError, match="din has learned from other items"):
        several.fit(replace(data, items=Vocabulary([f"other {code}" for code in range(40)])))
    with pytest.raises(ConfigError, match="din has learned click, cart, conversion, and made up is labelled by click"):
        several.fit(impressions(2, tasks=("click",)))


def test_networks_are_models_of_impressions() -> None:
    for kind in ("din", "can"):
        model = model_class(kind)
        assert isinstance(model(), ImpressionModel)
        assert model.is_incremental
        assert (model.kind, model.config_class().kind) == (kind, kind)


# -- inheriting


class Grown(DIN):
    """DIN with a part of its own behind the second hidden layer of clicks, which is zero at first."""

    def new_network(self, features):
        network = super().new_network(features)
        layer = network.get_submodule("tasks.click.hidden_2")
        layer.part = nn.Linear(8, 8)
        nn.init.zeros_(layer.part.weight)
        nn.init.zeros_(layer.part.bias)
        layer.register_forward_hook(lambda module, _, output: output + module.part(output))
        return network


def test_a_grown_model_begins_as_the_smaller_one_and_learns_its_own_part(tmp_path: Path) -> None:
    data = impressions(6)
    small = DIN(DINConfig(**SMALL)).fit(data.select(data.days < 4), checkpoint=tmp_path / "small")
    expected = small.predict(data)
    before: list[dict[str, np.ndarray]] = []

    def each_day(ranker: Grown, _: int) -> None:
        if not before:
            before.append(ranker.predict(data))

    rest = data.select(data.days >= 4)
    grown = Grown(DINConfig(**SMALL)).fit(rest, inherit=tmp_path / "small", each_day=each_day)
    for task, values in expected.items():
        assert before[0][task].tobytes() == values.tobytes()
    assert grown.report is not None
    part = "network.tasks.click.hidden_2.part."
    assert grown.report.new_parameters == (f"{part}weight", f"{part}bias")
    learned = grown.network.get_submodule("tasks.click.hidden_2").part.weight
    assert learned.abs().max() > 0
    assert grown.predict(data)["click"].tobytes() != expected["click"].tobytes()


def test_a_model_that_did_not_grow_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    """With moments the next step is the one that the smaller model would have taken; without, a first step's length."""
    config = DINConfig(**SMALL)
    data = impressions(4)
    DIN(config).fit(data.select(data.days < 3), checkpoint=tmp_path / "first")
    last = data.select(data.days == 3)
    features = RankingFeatures.of(data, config)
    moved = {}
    for name in ("with moments", "without"):
        torch.manual_seed(0)
        task = Pointwise(DIN(config).new_network(features), config)
        adam = torch.optim.AdamW(task.parameters(), lr=1e-2)
        assert inherit(tmp_path / "first", features.vocabulary, task, adam) == ()
        steps = {int(state["step"]) for state in adam.state.values()}
        assert steps == {3 * -(-PER_DAY // 32)}
        if name == "without":
            adam = torch.optim.AdamW(task.parameters(), lr=1e-2)
        before = task.network.unit.weight.detach().clone()
        task(batches(last).batch(0, 0)).backward()
        adam.step()
        moved[name] = float((task.network.unit.weight.detach() - before).abs().mean())
    assert moved["with moments"] < 0.5 * moved["without"]


def test_what_cannot_be_inherited_is_named_and_nothing_is_copied(tmp_path: Path) -> None:
    config = DINConfig(**SMALL)
    DIN(config).fit(impressions(2), checkpoint=tmp_path / "small")
    features = RankingFeatures.of(impressions(2), config)

    def tried(vocabulary: str, **settings) -> nn.Module:
        task = Pointwise(DIN(config := DINConfig(**{**SMALL, **settings})).new_network(features), config)
        before = {name: value.clone() for name, value in task.state_dict().items()}
        try:
            inherit(tmp_path / "small", vocabulary, task, torch.optim.AdamW(task.parameters()))
        finally:
            assert all(torch.equal(value, before[name]) for name, value in task.state_dict().items())
        return task

    with pytest.raises(
        ConfigError, match=r"'network\.tasks\.cart\.hidden_3\.activation\.slope' has shape \(6,\) in .* and \(7,\) here"
    ):
        tried(features.vocabulary, hidden=(12, 8, 7))
    with pytest.raises(ConfigError, match=r"has 'network\.tasks\.cart\.hidden_3\.activation\.slope', and"):
        tried(features.vocabulary, hidden=(12, 8))
    with pytest.raises(LineageError, match="belongs to another vocabulary"):
        tried("40:string:other")
    with pytest.raises(ArtefactError, match="holds no checkpoint to inherit from"):
        load_parameters(tmp_path / "nothing", features.vocabulary)

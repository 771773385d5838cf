import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import fit_packed
import numpy as np
import pytest
import torch
from rich.console import Console
from torch import Tensor, nn

from headwater.data import Dataset
from headwater.data.packed import pack
from headwater.errors import ArtefactError, ConfigError, LineageError, TrainingDiverged
from headwater.nn import training
from headwater.nn.checkpoint import STATE, Identity
from headwater.nn.devices import numerics, open_fabric, resolve_device
from headwater.nn.training import TrainingConfig, TrainingReport, config_identity, train
from headwater.retrieval.sequence.sasrec import SASRecConfig

IDENTITY = Identity("settings", "3:integer:abc", "data")
PROGRAM = Path(fit_packed.__file__)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


# -- a small model of numbers, on which the loop itself is looked at


class Numbers:
    """Batches of a line with noise; batch (epoch, step) is always the same."""

    steps = 4

    def __init__(self, bad: tuple[int, int] | None = None, stop: tuple[int, int] | None = None) -> None:
        self.bad, self.stop = bad, stop

    def steps_of(self, epoch: int) -> int:
        return self.steps

    def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> "Numbered":
        if (epoch, step) == self.stop:
            raise KeyboardInterrupt
        random = np.random.default_rng([epoch, step])
        x = torch.from_numpy(random.normal(size=(8, 3)).astype(np.float32))
        y = x @ torch.tensor([1.0, -2.0, 0.5]) + 3
        return Numbered(x, y * torch.nan if (epoch, step) == self.bad else y)


class Numbered:
    n_positives = n_passes = 8

    def __init__(self, x: Tensor, y: Tensor) -> None:
        self.x, self.y = x, y


class Line(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(3, 1)
        self.dropout = nn.Dropout(0.2)

    def forward(self, batch: Numbered) -> Tensor:
        return (self.linear(self.dropout(batch.x))[:, 0] - batch.y).square().mean()


def fit(
    config: TrainingConfig,
    *,
    batches: Numbers | None = None,
    validate: Callable[[nn.Module], float] | None = None,
    identity: Identity = IDENTITY,
    checkpoint: Path | None = None,
    resume: bool = False,
    console: Console | None = None,
) -> tuple[Line, TrainingReport]:
    model = Line()
    with numerics(torch.device("cpu"), "fp32", is_deterministic=True):
        report = train(
            open_fabric("cpu", "fp32"),
            model,
            batches or Numbers(),
            config,
            identity,
            validate=None if validate is None else lambda: validate(model),
            checkpoint=checkpoint,
            resume=resume,
            console=console,
        )
    return model, report


def weights(model: nn.Module) -> list[Tensor]:
    return [weight.detach().clone() for weight in model.parameters()]


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(a, b) for a, b in zip(weights(one), weights(other), strict=True))


SHORT = TrainingConfig(epochs=12, learning_rate=0.05, validate_every=1, patience=100)


def minus_error(model: nn.Module) -> float:
    weight, bias = weights(model)
    return -float((weight - torch.tensor([1.0, -2.0, 0.5])).square().sum() + (bias - 3).square().sum())


def test_training_learns_and_says_how_it_went() -> None:
    model, report = fit(SHORT, validate=minus_error)
    assert minus_error(model) > minus_error(Line()) / 2
    assert report.epochs == 12
    assert [epoch for epoch, _, _ in report.curve] == list(range(12))
    assert report.curve[-1][1] < report.curve[0][1]
    assert report.best_value == max(value for _, _, value in report.curve if value is not None)
    assert report.positives_per_second > 0
    assert report.peak_memory is None


def test_one_seed_gives_one_result_and_another_seed_another() -> None:
    assert same(fit(SHORT)[0], fit(SHORT)[0])
    assert not same(fit(SHORT)[0], fit(SHORT.model_copy(update={"seed": 1}))[0])


def test_training_leaves_the_random_state_and_torchs_switches_as_they_were() -> None:
    state = torch.get_rng_state()
    with numerics(torch.device("cpu"), "tf32", is_deterministic=True):
        assert torch.are_deterministic_algorithms_enabled()
        assert torch.get_float32_matmul_precision() == "high"
        fit(SHORT)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.are_deterministic_algorithms_enabled()
    assert torch.get_float32_matmul_precision() == "highest"


# -- validation


def test_the_weights_of_the_best_validation_are_kept() -> None:
    seen: list[tuple[float, list[Tensor]]] = []
    figures = iter([0.1, 0.5, 0.3, 0.5, 0.2, 0.4])

    def validate(model: nn.Module) -> float:
        assert not model.training
        seen.append((next(figures), weights(model)))
        return seen[-1][0]

    model, report = fit(SHORT.model_copy(update={"epochs": 6}), validate=validate)
    assert (report.best_epoch, report.best_value) == (1, 0.5)  # the first of equals
    assert all(torch.equal(a, b) for a, b in zip(weights(model), seen[1][1], strict=True))


def test_training_stops_when_validation_stays_below_its_best() -> None:
    figures = iter([0.1, 0.9, 0.3, 0.4, 0.5, 0.6])
    config = TrainingConfig(epochs=100, validate_every=2, patience=3)
    _, report = fit(config, validate=lambda _: next(figures))
    assert (report.epochs, report.best_epoch) == (10, 3)


def test_without_validation_all_epochs_run_and_the_last_weights_stay() -> None:
    _, report = fit(SHORT)
    assert (report.epochs, report.best_value) == (12, None)


def test_training_shorter_than_its_first_validation_is_measured_at_its_end() -> None:
    _, report = fit(SHORT.model_copy(update={"epochs": 3, "validate_every": 5}), validate=lambda _: 0.25)
    assert (report.best_epoch, report.best_value) == (2, 0.25)


def test_averages_are_validated_and_kept_while_training_goes_on_from_the_weights() -> None:
    config = SHORT.model_copy(update={"epochs": 3, "averaging": 0.8})
    steps: list[list[Tensor]] = []

    class Watched(Numbers):
        def batch(self, epoch: int, step: int, *, process: int = 0, n_processes: int = 1) -> "Numbered":
            steps.append(weights(state.model))  # as they are before the step
            return super().batch(epoch, step)

    with numerics(torch.device("cpu"), "fp32", is_deterministic=True):
        validated: list[list[Tensor]] = []
        state = training._Training(
            open_fabric("cpu", "fp32"),
            Line(),
            Watched(),
            config,
            IDENTITY,
            lambda: validated.append(weights(state.model)) or float(len(validated)),
            None,
        )
        state.run(resume=False, console=Console(quiet=True))
    plain, _ = fit(config.model_copy(update={"averaging": 0.0}))
    after = [*steps[1:], weights(plain)]  # the weights move as they do without averages
    average = steps[0]
    for step, weight in enumerate(after):
        decay = min(0.8, (1 + step) / (10 + step))
        average = [decay * a + (1 - decay) * w for a, w in zip(average, weight, strict=True)]
        if step % 4 == 3:
            for mine, theirs in zip(average, validated[step // 4], strict=True):
                torch.testing.assert_close(mine, theirs)
    for mine, kept in zip(average, weights(state.model), strict=True):
        torch.testing.assert_close(mine, kept)


def test_a_validation_without_a_figure_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"validation gave nan after epoch 1; are there validation users\?"):
        fit(SHORT, validate=lambda _: float("nan"))


# -- the learning rate and the limit of time


def test_the_learning_rate_rises_over_the_warm_up_and_falls_as_a_cosine() -> None:
    config = TrainingConfig(epochs=3, learning_rate=1.0, warmup_steps=4, schedule="cosine")
    state = training._Training(open_fabric("cpu", "fp32"), Line(), Numbers(), config, IDENTITY, None, None)
    rates = [state._learning_rate(step) for step in range(12)]
    np.testing.assert_allclose(rates[:5], [0.25, 0.5, 0.75, 1.0, 1.0])
    np.testing.assert_allclose(rates[8], 0.5)
    assert rates[4:] == sorted(rates[4:], reverse=True)
    assert 0 < rates[-1] < 0.05


def test_the_limit_of_time_ends_training_with_what_there_is() -> None:
    _, report = fit(SHORT.model_copy(update={"epochs": 10_000, "seconds_limit": 0.01}), validate=minus_error)
    assert 0 < report.epochs < 10_000
    assert report.best_value is not None


# -- a loss that is not finite


def test_a_loss_that_is_no_number_stops_names_its_batch_and_keeps_the_last_good_checkpoint(tmp_path: Path) -> None:
    config = SHORT.model_copy(update={"checkpoint_seconds": 0})
    with pytest.raises(TrainingDiverged, match=r"nan at epoch 4, batch 3; .* last good checkpoint is in .*kept"):
        fit(config, batches=Numbers(bad=(3, 2)), checkpoint=tmp_path / "kept")
    state = json.loads((tmp_path / "kept" / STATE).read_text())
    assert (state["progress"]["epoch"], state["progress"]["step"]) == (3, 0)
    # With the batch mended, it goes on as if nothing had been.
    assert same(fit(config, checkpoint=tmp_path / "kept", resume=True)[0], fit(config)[0])


# -- checkpoints


def interrupted(config: TrainingConfig, folder: Path, after: int) -> None:
    """Train until validation number `after` raises, as a failing disk or a keyboard interrupt would."""
    left = iter(range(after))

    def validate(model: nn.Module) -> float:
        if next(left, None) is None:
            raise KeyboardInterrupt
        return minus_error(model)

    with pytest.raises(KeyboardInterrupt):
        fit(config, validate=validate, checkpoint=folder)


@pytest.mark.parametrize("after", [1, 7])
@pytest.mark.parametrize("averaging", [0.0, 0.9])
def test_a_stopped_training_goes_on_to_the_same_bits(tmp_path: Path, after: int, averaging: float) -> None:
    changes = {"checkpoint_seconds": 0, "schedule": "cosine", "warmup_steps": 5, "averaging": averaging}
    config = SHORT.model_copy(update=changes)
    whole, expected = fit(config, validate=minus_error)
    interrupted(config, tmp_path, after)
    resumed, report = fit(config, validate=minus_error, checkpoint=tmp_path, resume=True)
    assert same(resumed, whole)
    assert report.curve == expected.curve
    assert (report.best_epoch, report.best_value) == (expected.best_epoch, expected.best_value)


def test_a_training_stopped_inside_an_epoch_goes_on_from_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = SHORT.model_copy(update={"checkpoint_seconds": 0})
    whole, expected = fit(config, validate=minus_error)
    monkeypatch.setattr(training, "STEPS_BETWEEN_CHECKS", 3)
    with pytest.raises(KeyboardInterrupt):
        fit(config, batches=Numbers(stop=(5, 3)), validate=minus_error, checkpoint=tmp_path)
    progress = json.loads((tmp_path / STATE).read_text())["progress"]
    assert (progress["epoch"], progress["step"], progress["n_steps"]) == (5, 3, 23)
    resumed, report = fit(config, validate=minus_error, checkpoint=tmp_path, resume=True)
    assert same(resumed, whole)
    assert report.curve == expected.curve


def test_a_finished_training_is_resumed_without_another_step(tmp_path: Path) -> None:
    whole, _ = fit(SHORT, validate=minus_error, checkpoint=tmp_path)
    again, report = fit(SHORT, validate=lambda _: pytest.fail("asked"), checkpoint=tmp_path, resume=True)
    assert same(again, whole)
    assert report.positives_per_second == 0


def test_without_resume_training_begins_anew_and_one_checkpoint_is_left(tmp_path: Path) -> None:
    fit(SHORT, checkpoint=tmp_path)
    _, report = fit(SHORT, checkpoint=tmp_path)
    assert report.epochs == 12
    assert report.positives_per_second > 0
    assert sorted(entry.suffix for entry in tmp_path.iterdir()) == [".json", ".safetensors"]


def test_resuming_where_there_is_no_checkpoint_begins(tmp_path: Path) -> None:
    assert same(fit(SHORT, checkpoint=tmp_path / "none", resume=True)[0], fit(SHORT)[0])


def test_a_checkpoint_of_another_vocabulary_setting_or_data_set_is_refused_by_name(tmp_path: Path) -> None:
    fit(SHORT, checkpoint=tmp_path)
    for change, error, words in [
        ({"vocabulary": "4:integer:def"}, LineageError, "another vocabulary .3:integer:abc. than this one .4:integer"),
        ({"config": "changed"}, ConfigError, "belongs to other settings .settings, here changed."),
        ({"data": "more"}, ConfigError, "belongs to other training data"),
    ]:
        with pytest.raises(error, match=words):
            fit(SHORT, checkpoint=tmp_path, resume=True, identity=replace(IDENTITY, **change))


def test_a_damaged_checkpoint_is_refused(tmp_path: Path) -> None:
    fit(SHORT, checkpoint=tmp_path)
    tensors = next(tmp_path.glob("*.safetensors"))
    whole = tensors.read_bytes()
    tensors.write_bytes(whole[:-1])
    with pytest.raises(ArtefactError, match=r"step-.*safetensors is missing, truncated or altered"):
        fit(SHORT, checkpoint=tmp_path, resume=True)
    tensors.unlink()
    with pytest.raises(ArtefactError, match="missing"):
        fit(SHORT, checkpoint=tmp_path, resume=True)
    for text in ("{", "[]", '{"format": 99}'):
        (tmp_path / STATE).write_text(text)
        with pytest.raises(ArtefactError, match=r"checkpoint\.json"):
            fit(SHORT, checkpoint=tmp_path, resume=True)


def test_a_checkpoint_may_be_resumed_elsewhere_but_not_with_another_seed() -> None:
    config = SASRecConfig()

    def changed(**values: Any) -> SASRecConfig:
        return config.model_copy(update={"training": config.training.model_copy(update=values)})

    assert config_identity(changed(device="cpu", seconds_limit=5.0)) == config_identity(config)
    assert config_identity(changed(seed=1)) != config_identity(config)
    assert config_identity(config.model_copy(update={"dropout": 0.1})) != config_identity(config)


# -- real processes


JOB = {
    "length": 20,
    "dimension": 16,
    "layers": 1,
    "heads": 2,
    "training": {"epochs": 12, "batch_size": 64, "validate_every": 3, "device": "cpu"},
}


def prepare(folder: Path, data: Dataset, *, checkpoint: bool = False, **changes: Any) -> Path:
    folder.mkdir()
    pack(data, folder / "set.npz")
    config = {**JOB, **changes}
    (folder / "job.json").write_text(json.dumps({"config": config, "checkpoint": checkpoint}))
    return folder


def run(*command: str) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr


def test_a_killed_process_is_resumed_to_the_same_bits(marketplace: Dataset, tmp_path: Path) -> None:
    often = {**JOB["training"], "checkpoint_seconds": 0}  # type: ignore[dict-item]
    whole = prepare(tmp_path / "whole", marketplace, training=often)
    killed = prepare(tmp_path / "killed", marketplace, checkpoint=True, training=often)
    process = subprocess.Popen([sys.executable, str(PROGRAM), str(killed)], stderr=subprocess.PIPE)
    state = killed / "checkpoint" / STATE
    while not state.exists() or json.loads(state.read_text())["progress"]["epoch"] < 2:
        assert process.poll() is None, process.communicate()[1]
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not (killed / "curve.json").exists()

    run(sys.executable, str(PROGRAM), str(killed))
    fit_packed.main(whole)
    assert (killed / "curve.json").read_text() == (whole / "curve.json").read_text()
    saved = [(folder / "channel" / "tensors.safetensors").read_bytes() for folder in (killed, whole)]
    assert saved[0] == saved[1]


def test_two_processes_give_the_losses_and_figures_of_one(marketplace: Dataset, tmp_path: Path) -> None:
    objective = {"loss": "sampled-softmax", "n_negatives": 20, "shared": False}
    settings = {"dropout": 0.0, "objective": objective}
    alone = prepare(tmp_path / "alone", marketplace, **settings)
    two = prepare(tmp_path / "two", marketplace, **settings)
    fit_packed.main(alone)
    torchrun = (sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2")
    run(*torchrun, str(PROGRAM), str(two))
    expected, found = (np.array(json.loads((folder / "curve.json").read_text()), float) for folder in (alone, two))
    assert np.isfinite(expected[2::3, 2]).all()
    np.testing.assert_allclose(found, expected, atol=1e-4, rtol=1e-4)


# -- devices, and what a person sees


def test_a_gpu_is_taken_where_there_is_one_and_refused_where_there_is_none() -> None:
    if torch.cuda.is_available():
        assert resolve_device("auto").type == resolve_device("cuda").type == "cuda"
    else:
        assert resolve_device("auto").type == "cpu"
        with pytest.raises(ConfigError, match="PyTorch sees no GPU"):
            resolve_device("cuda")


def test_a_terminal_shows_throughput_and_a_pipe_nothing() -> None:
    terminal, pipe = io.StringIO(), io.StringIO()
    fit(SHORT, console=Console(force_terminal=True, width=160, file=terminal))
    fit(SHORT, console=Console(file=pipe))
    assert "positives/s" in terminal.getvalue()
    assert "passes/s" in terminal.getvalue()
    assert pipe.getvalue() == ""

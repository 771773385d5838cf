"""The one training loop: any module whose call gives a loss, any batches that can be made again from their number."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from pydantic import BaseModel
from rich.console import Console
from torch import Tensor, nn

from headwater.errors import ConfigError, TrainingDiverged
from headwater.nn.averages import Averages
from headwater.nn.batches import Batches, step_seed
from headwater.nn.checkpoint import Identity, Progress, load_checkpoint, save_checkpoint
from headwater.nn.inheritance import inherit, restore_moments, take_over
from headwater.nn.progress import Display
from headwater.nn.settings import TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric

STEPS_BETWEEN_CHECKS = 50
"""Losses are read from the device this often: each reading waits for it, and a bad loss is still named exactly."""


FREE_SETTINGS = {"device", "threads", "seconds_limit", "checkpoint_seconds"}
"""A checkpoint may be resumed under other values of these."""


def config_identity(config: BaseModel) -> str:
    """Hash of all settings but where a run happens and how long it may take; `training` holds a `TrainingConfig`."""
    values = config.model_dump(mode="json", exclude={"training": FREE_SETTINGS})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class TrainingReport:
    """What training did.

    Attributes
    ----------
    epochs : int
        Finished epochs.
    best_epoch, best_value : int, float, or None
        The epoch, from 0, whose weights were kept, and its validation figure; None without validation.
    curve : list of (epoch, mean loss, validation figure or None)
    seconds : float
        Wall time of steps and validations, all resumed runs together.
    positives_per_second, passes_per_second : float
        Of this run's steps alone, over all processes.
    peak_memory : int or None
        Most bytes that tensors took on the GPU.
    new_parameters : tuple of str
        Of a model that inherited: names of what the smaller one did not have.
    """

    epochs: int
    best_epoch: int | None
    best_value: float | None
    curve: list[tuple[int, float, float | None]]
    seconds: float
    positives_per_second: float
    passes_per_second: float
    peak_memory: int | None
    new_parameters: tuple[str, ...] = ()


def train(
    fabric: Fabric,
    model: nn.Module,
    batches: Batches,
    config: TrainingConfig,
    identity: Identity,
    *,
    validate: Callable[[], float] | None = None,
    before_epoch: Callable[[int], None] | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    inherited: Path | Mapping[str, Tensor] | None = None,
    keep: Callable[[dict[str, Tensor]], None] | None = None,
    console: Console | None = None,
) -> TrainingReport:
    """Train `model` in place; it ends with the weights of the best validation, or the last ones without any.

    Parameters
    ----------
    model : nn.Module
        `model(batch)` gives the mean loss of the batch's positives (of its own part, times processes, where there
        are several: averaged gradients are then those of one process).
    validate : callable, optional
        Returns the figure to be maximised; called in evaluation mode, in process 0. Without it training runs all
        epochs.
    before_epoch : callable, optional
        Told the number of each epoch before its first step, in evaluation mode, in process 0. A resumed run that
        was stopped there tells it again.
    checkpoint : Path, optional
        Folder for checkpoints.
    resume : bool
        Go on from the checkpoint there; begin anew where there is none. A resumed run ends with the same bits as
        one that was never stopped.
    inherited : Path, or dict of str to Tensor, optional
        Folder of a checkpoint of a smaller model, or what `keep` was given, that a new training begins from; see
        `headwater.nn.inheritance`.
    keep : callable, optional
        Is given what a checkpoint would hold at the end, weights and moments, not copied.

    Raises
    ------
    TrainingDiverged
        A loss is not finite; the message names epoch and batch, and the last checkpoint is kept.
    ConfigError
        Validation gave no figure, or the checkpoint belongs to other settings or data.
    LineageError, ArtefactError
        See `load_checkpoint`.
    """
    training = _Training(fabric, model, batches, config, identity, validate, checkpoint, before_epoch)
    report = training.run(resume=resume, inherited=inherited, console=console or Console(stderr=True))
    if keep is not None:
        keep(training.tensors())
    return report


class _Training:
    """The state of one `train` call."""

    def __init__(
        self,
        fabric: Fabric,
        model: nn.Module,
        batches: Batches,
        config: TrainingConfig,
        identity: Identity,
        validate: Callable[[], float] | None,
        checkpoint: Path | None,
        before_epoch: Callable[[int], None] | None = None,
    ) -> None:
        self.fabric = fabric
        self.model = model.to(fabric.device)
        self.batches = batches
        self.config = config
        self.identity = identity
        self.validate = validate
        self.before_epoch = before_epoch
        self.total_steps = sum(batches.steps_of(epoch) for epoch in range(config.epochs))
        self.new_parameters: tuple[str, ...] = ()
        self.checkpoint = checkpoint
        self.at = Progress()
        self.best: dict[str, Tensor] = {}
        self.n_positives = self.n_passes = 0
        self.step_seconds = 0.0
        self.parameters = dict(self.model.named_parameters())
        self.averages = Averages(self.parameters, config.averaging)
        self.adam = torch.optim.AdamW(
            self.parameters.values(),
            lr=config.learning_rate,
            betas=(0.9, config.second_moment),
            weight_decay=config.weight_decay,
            fused=True,
        )

    def run(
        self, *, resume: bool, console: Console, inherited: Path | Mapping[str, Tensor] | None = None
    ) -> TrainingReport:
        is_resumed = resume and self.checkpoint is not None and self._restore(self.checkpoint)
        if inherited is not None and not is_resumed:
            if isinstance(inherited, Path):
                self.new_parameters = inherit(inherited, self.identity.vocabulary, self.model, self.adam)
            else:
                self.new_parameters = take_over(inherited, "an earlier training", self.model, self.adam)
            self.averages = Averages(self.parameters, self.config.averaging)
        if self.fabric.device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self.fabric.device)
        call = self.fabric.setup_module(self.model)
        optimizer = self.fabric.setup_optimizers(self.adam)
        started = saved = time.monotonic()
        before = self.at.seconds
        with Display(self.total_steps, console) as display:
            while not self._is_finished():
                if self.at.step == 0:
                    self._begin_epoch()
                self._steps(call, optimizer)
                if self.at.step == self.batches.steps_of(self.at.epoch):
                    self._end_epoch()
                now = time.monotonic()
                self.at.seconds = before + now - started
                self._show(display)
                limit = self.config.seconds_limit
                is_late = bool(self.fabric.broadcast(limit is not None and now - started >= limit))
                is_over = is_late or self._is_finished()
                if is_over or now - saved >= self.config.checkpoint_seconds:
                    self._save()
                    saved = time.monotonic()
                if is_over:
                    break
        if self.at.best_value is None and self.validate is not None:
            self._validate(max(self.at.epoch - 1, 0))  # training ended before the first one was due
        self.averages.swap()
        if self.best:
            self.model.load_state_dict(self.best)
        self.model.eval()
        return self._report()

    def _steps(self, call: nn.Module, optimizer: Any) -> None:
        """Take steps until the next check or the end of the epoch, then read their losses."""
        fabric, config, at = self.fabric, self.config, self.at
        begin = time.monotonic()
        count = min(STEPS_BETWEEN_CHECKS, self.batches.steps_of(at.epoch) - at.step)
        losses = torch.zeros(count, device=fabric.device)
        self.model.train()
        for done in range(count):
            # Dropout: a stream of its own for every step and process, so that no random state needs saving.
            torch.manual_seed(step_seed(config.seed, at.epoch, at.step + done, fabric.global_rank))
            batch: Any = self.batches.batch(
                at.epoch, at.step + done, process=fabric.global_rank, n_processes=fabric.world_size
            )
            for group in self.adam.param_groups:
                group["lr"] = self._learning_rate(at.n_steps + done)
            loss = call(batch)
            optimizer.zero_grad(set_to_none=True)
            fabric.backward(loss)
            if config.clip_norm is not None:
                fabric.clip_gradients(call, optimizer, max_norm=config.clip_norm, error_if_nonfinite=False)
            optimizer.step()
            self.averages.update(at.n_steps + done)
            losses[done] = loss.detach()
            self.n_positives += batch.n_positives
            self.n_passes += batch.n_passes
        # Each process has its own part's loss, scaled so that their mean is the batch's.
        values: list[float] = fabric.all_reduce(losses, reduce_op="mean").tolist()  # type: ignore[union-attr]
        for done, value in enumerate(values):
            if not math.isfinite(value):
                kept = "" if self.checkpoint is None else f" The last good checkpoint is in {self.checkpoint}."
                raise TrainingDiverged(
                    f"the loss is {value} at epoch {at.epoch + 1}, batch {at.step + done + 1}; "
                    f"try a lower learning_rate, clip_norm = 1 or precision = 'fp32'.{kept}"
                )
            at.loss_sum += value
        at.step += count
        at.n_steps += count
        self.step_seconds += time.monotonic() - begin

    def _begin_epoch(self) -> None:
        if self.before_epoch is not None:
            self.averages.swap()
            self.model.eval()
            if self.fabric.global_rank == 0:
                self.before_epoch(self.at.epoch)
            self.fabric.barrier()
            self.averages.swap()

    def _end_epoch(self) -> None:
        at = self.at
        is_due = self.validate is not None and (at.epoch + 1) % self.config.validate_every == 0
        value = self._validate(at.epoch) if is_due else None
        at.curve.append((at.epoch, at.loss_sum / self.batches.steps_of(at.epoch), value))
        at.epoch, at.step, at.loss_sum = at.epoch + 1, 0, 0.0

    @torch.no_grad()
    def _validate(self, epoch: int) -> float:
        """The figure of the weights, or of their averages; kept where it is the best so far."""
        self.averages.swap()
        value = self._value()
        if self.at.best_value is None or value > self.at.best_value:
            self.at.best_value, self.at.best_epoch = value, epoch
            self.best = {name: weight.detach().clone() for name, weight in self.model.state_dict().items()}
        self.averages.swap()
        return value

    def _value(self) -> float:
        self.model.eval()
        value = 0.0
        if self.fabric.global_rank == 0 and self.validate is not None:
            value = float(self.validate())
        value = float(self.fabric.broadcast(value))
        if not math.isfinite(value):
            raise ConfigError(
                f"validation gave {value} after epoch {self.at.epoch + 1}; are there validation users? "
                "Leave validate out to train all epochs."
            )
        return value

    def _is_finished(self) -> bool:
        at, config = self.at, self.config
        if at.epoch >= config.epochs:
            return True
        if at.best_epoch is None or at.step:
            return False
        return (at.epoch - 1 - at.best_epoch) // config.validate_every >= config.patience

    def _learning_rate(self, step: int) -> float:
        config = self.config
        rate = config.learning_rate
        if step < config.warmup_steps:
            return rate * (step + 1) / config.warmup_steps
        if config.schedule == "cosine":
            total = max(self.total_steps - config.warmup_steps, 1)
            rate *= 0.5 * (1 + math.cos(math.pi * (step - config.warmup_steps) / total))
        return rate

    def _save(self) -> None:
        if self.checkpoint is not None and self.fabric.global_rank == 0:
            save_checkpoint(self.checkpoint, self.identity, self.at, self.tensors())

    def tensors(self) -> dict[str, Tensor]:
        """All that a checkpoint holds beside the progress."""
        tensors = {f"model.{name}": weight for name, weight in self.model.state_dict().items()}
        tensors |= {f"best.{name}": weight for name, weight in self.best.items()}
        tensors |= {f"average.{name}": weight for name, weight in self.averages.tensors.items()}
        for name, parameter in self.parameters.items():
            moments = self.adam.state.get(parameter, {})
            tensors |= {f"adam.{moment}.{name}": value for moment, value in moments.items()}
        return tensors

    def _restore(self, checkpoint: Path) -> bool:
        """Go on from the checkpoint there; whether there is one."""
        found = load_checkpoint(checkpoint, self.identity)
        if found is None:
            return False
        self.at, tensors = found
        device = self.fabric.device
        of: dict[str, dict[str, Tensor]] = {"model": {}, "best": {}, "average": {}}
        for name, tensor in tensors.items():
            part, _, rest = name.partition(".")
            if part in of:
                of[part][rest] = tensor.to(device)
        restore_moments(self.adam, self.parameters, tensors)
        self.model.load_state_dict(of["model"])
        self.best = of["best"]
        self.averages.restore(of["average"])
        return True

    def _show(self, display: Display) -> None:
        at = self.at
        loss = at.loss_sum / at.step if at.step else at.curve[-1][1]
        seconds = max(self.step_seconds, 1e-9)
        display.show(
            at.n_steps,
            at.epoch,
            loss,
            at.best_value,
            positives=self.n_positives / seconds,
            passes=self.n_passes / seconds,
        )

    def _report(self) -> TrainingReport:
        at, seconds = self.at, max(self.step_seconds, 1e-9)
        device = self.fabric.device
        return TrainingReport(
            epochs=at.epoch,
            best_epoch=at.best_epoch,
            best_value=at.best_value,
            curve=at.curve,
            seconds=at.seconds,
            positives_per_second=self.n_positives / seconds,
            passes_per_second=self.n_passes / seconds,
            peak_memory=torch.cuda.max_memory_allocated(device) if device.type == "cuda" else None,
            new_parameters=self.new_parameters,
        )

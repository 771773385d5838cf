"""How a model is trained, as settings that are read without torch."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from headwater.config import Settings

Device = Literal["auto", "cpu", "cuda"]
Precision = Literal["fp32", "tf32", "bf16"]


class TrainingConfig(Settings):
    """How a model is trained, whatever it is."""

    epochs: int = Field(default=100, ge=1)
    """Passes over the users, at most: early stopping may end it sooner."""

    batch_size: int = Field(default=128, ge=1)
    """Sequences of one step, over all processes (64..1024)."""

    learning_rate: float = Field(default=1e-3, gt=0)
    """Of Adam. 1e-3 suits d ≤ 256."""

    second_moment: float = Field(default=0.98, gt=0, lt=1)
    """β₂ of Adam; 0.98 forgets the embeddings' sparse early gradients sooner than 0.999, and is what the code of
    SASRec uses."""

    weight_decay: float = Field(default=0.0, ge=0)
    """Decoupled (AdamW), on all weights."""

    warmup_steps: int = Field(default=0, ge=0)
    """Steps over which the learning rate rises from 0."""

    schedule: Literal["constant", "cosine"] = "constant"
    """The learning rate after the warm-up; `cosine` falls to 0 at the last of `epochs`."""

    clip_norm: float | None = Field(default=None, gt=0)
    """Longest gradient, as a norm over all weights; none: as it is."""

    averaging: float = Field(default=0.0, ge=0, lt=1)
    """Weights are averaged over the steps, each counting this much less than the next; validated and kept are the
    averages, while training goes on from the weights themselves. 0.998 looks back over some 500 steps; 0 is off.
    With a constant learning rate it gives what falling rates are meant to give, and knows no last epoch."""

    validate_every: int = Field(default=5, ge=1)
    """Epochs between two validations."""

    patience: int = Field(default=10, ge=1)
    """Training stops after this many validations without a higher figure; the best weights are kept."""

    precision: Precision = "tf32"
    """`tf32` (same as `fp32` on CPUs), `bf16` (mixed: weights and losses stay fp32), or `fp32`."""

    seed: int = Field(default=0, ge=0)
    """Of initial weights, order, dropout and negatives: one seed, one result on one kind of device."""

    is_deterministic: bool = True
    """Use kernels that give the same bits in every run; without it some GPU kernels are a little faster."""

    is_compiled: bool = False
    """Compile the encoder (torch.compile): worth its minute or so of start in long runs on a GPU."""

    device: Device = "auto"
    """`auto` takes a GPU where there is one."""

    threads: int | None = Field(default=None, ge=1)
    """Threads of a CPU; none: as many as torch takes. Small steps lose by sharing: on busy cores each thread waits for
    the others hundreds of times a step. Figures of one thread are the same on any number of cores."""

    seconds_limit: float | None = Field(default=None, gt=0)
    """Stop after this much wall time, validation included. The result then depends on the machine's speed."""

    checkpoint_seconds: float = Field(default=60.0, ge=0)
    """Time between two checkpoints, where a folder for them is given; the last state is always written."""

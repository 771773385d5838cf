"""Where training runs: the device, the processes, the precision, and whether two runs give the same bits."""

from __future__ import annotations

import atexit
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Literal

import torch

from headwater.errors import ConfigError
from headwater.nn.settings import Device, Precision, TrainingConfig

if TYPE_CHECKING:
    from lightning_fabric import Fabric


def resolve_device(device: Device) -> torch.device:
    """The device that `auto` means here, or the one named.

    Raises `ConfigError` where CUDA is asked for and there is none.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device is 'cuda', and PyTorch sees no GPU here; use 'auto' or 'cpu'")
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    return torch.device(device)


def open_fabric(device: Device, precision: Precision) -> Fabric:
    """Lightning Fabric on the device, joined to the other processes where torchrun started several.

    One process is the rule. For several: `torchrun --standalone --nproc-per-node 2 train.py`, each of which calls
    the same function; gradients are averaged (DDP; gloo on CPUs, NCCL on GPUs) and process 0 writes the files.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.torchelastic import TorchElasticEnvironment

    kind = resolve_device(device).type
    numbers: Literal["bf16-mixed", "32-true"] = "bf16-mixed" if precision == "bf16" else "32-true"
    n_processes = int(os.environ.get("WORLD_SIZE", "1")) if TorchElasticEnvironment.detect() else 1
    if n_processes == 1:
        return Fabric(accelerator=kind, devices=1, precision=numbers)
    here = int(os.environ["LOCAL_WORLD_SIZE"])
    fabric = Fabric(accelerator=kind, devices=here, num_nodes=n_processes // here, strategy="ddp", precision=numbers)
    fabric.launch()
    atexit.register(_leave_the_others)
    return fabric


def _leave_the_others() -> None:
    """End the process group before the interpreter does: gloo's threads, still running then, would abort it."""
    if torch.distributed.is_initialized():
        torch.distributed.destroy_process_group()


@contextmanager
def threads_of(n: int | None) -> Iterator[None]:
    """Inside, torch uses `n` threads on a CPU; as many as it did where there is none."""
    before = torch.get_num_threads()
    torch.set_num_threads(n or before)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextmanager
def numerics(device: torch.device, precision: Precision, *, is_deterministic: bool) -> Iterator[None]:
    """Inside: the products' precision and deterministic kernels as asked, and random states that leave no trace."""
    before = (torch.get_float32_matmul_precision(), torch.are_deterministic_algorithms_enabled())
    if is_deterministic and device.type == "cuda":
        # cuBLAS reads it when it first starts; without it PyTorch refuses deterministic products.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.set_float32_matmul_precision("highest" if precision == "fp32" else "high")
    torch.use_deterministic_algorithms(is_deterministic)
    # Filling fresh memory is for finding reads of it; nothing here reads what it has not written.
    switches: Any = torch.utils.deterministic
    is_filling = switches.fill_uninitialized_memory
    switches.fill_uninitialized_memory = False
    try:
        with torch.random.fork_rng(devices=[torch.cuda.current_device()] if device.type == "cuda" else []):
            yield
    finally:
        torch.set_float32_matmul_precision(before[0])
        torch.use_deterministic_algorithms(before[1])
        switches.fill_uninitialized_memory = is_filling


@contextmanager
def prepared(training: TrainingConfig) -> Iterator[Fabric]:
    """Inside: threads and numerics as `training` asks, on its device, for the Fabric that is given.

    Raises as `resolve_device` does.
    """
    device = resolve_device(training.device)
    with (
        threads_of(training.threads),
        numerics(device, training.precision, is_deterministic=training.is_deterministic),
    ):
        yield open_fabric(training.device, training.precision)

"""From a sweep to the processes that make its runs: what each launcher and sweeper needs. No torch.

The launchers are Hydra's own, with the settings of conf/hydra/launcher/. What became of a run is read from its directory: all
that comes back from another process is the news that it is over.
"""

from __future__ import annotations

import copy
import itertools
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec

from sobench.config.rules import COUNT, NON_NEGATIVE, POSITIVE, Rule, check, choice, optional
from sobench.errors import UsageError
from sobench.system import stopping
from sobench.system.devices import cores

SLURM_ARRAY = 1000
"""Jobs of one array: as many as Slurm takes by default."""


@dataclass(frozen=True)
class Extra:
    """What a launcher or sweeper is imported from, what to install for it, and how it differs from the others."""

    module: str
    package: str
    extra: str
    at_once: Callable[[], int] | None = None
    """How many runs it can be handed at once, if not all."""
    restores: tuple[str, ...] = ()
    """Environment variables that it changes, and should not: its processes are on this machine."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that it wants, unless the user has set them."""
    end: Callable[[], None] = lambda: None
    """What is to be done when its last job is over."""


def _end_workers() -> None:
    """joblib keeps its processes for a next sweep, and would wait at the end until each has taken itself apart: 1.5 s."""
    if loky := sys.modules.get("joblib.externals.loky"):  # else nothing was launched
        loky.get_reusable_executor(reuse=True).shutdown(kill_workers=True)


_SUBMITIT = ("hydra_plugins.hydra_submitit_launcher", "hydra-submitit-launcher", "submitit")
EXTRAS: dict[tuple[str, str], Extra] = {
    ("hydra/launcher", "joblib"): Extra(
        "hydra_plugins.hydra_joblib_launcher", "hydra-joblib-launcher", "joblib", end=_end_workers
    ),
    ("hydra/launcher", "submitit_local"): Extra(
        *_SUBMITIT, at_once=lambda: len(cores()), restores=("CUDA_VISIBLE_DEVICES",)
    ),
    ("hydra/launcher", "submitit_slurm"): Extra(*_SUBMITIT, at_once=lambda: SLURM_ARRAY),
    ("hydra/launcher", "ray"): Extra(
        "hydra_plugins.hydra_ray_launcher",
        "hydra-ray-launcher",
        "ray",
        environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"},
    ),
    ("hydra/sweeper", "optuna"): Extra("optuna", "optuna", "optuna"),
}
"""What needs more than sobench itself, by config group and name."""

WHOLE = Rule((int,), "a whole number of at least 0", lambda v: v >= 0)
WORD = Rule((str, int), "a name")
RULES: dict[str, Rule] = {
    "launcher.n_jobs": Rule((int,), "-1 (every core) or a whole number of at least 1", lambda v: v == -1 or v >= 1),
    "launcher.submitit_folder": Rule(
        (str,), "the path of a folder, with %j for the number of the job", lambda v: "%j" in v
    ),
    "launcher.timeout_min": COUNT,
    "launcher.max_num_timeout": WHOLE,
    "launcher.signal_delay_s": COUNT,
    "launcher.array_parallelism": COUNT,
    "launcher.cpus_per_task": optional(COUNT),
    "launcher.gpus_per_node": optional(COUNT),
    "launcher.mem_gb": optional(POSITIVE),
    "launcher.setup": optional(Rule((list,), "a list of commands", lambda v: all(isinstance(word, str) for word in v))),
    "launcher.additional_parameters": Rule((dict,), "settings of sbatch, as {mail-type: END}"),
    **{
        f"launcher.{word}": optional(WORD)
        for word in ("partition", "account", "qos", "constraint", "exclude", "gres", "comment")
    },
    "launcher.ray.init": Rule((dict,), "what ray.init takes"),
    "launcher.ray.init.address": optional(Rule((str,), "auto, HOST:PORT or ray://HOST:PORT")),
    "launcher.ray.remote": Rule((dict,), "what ray.remote takes"),
    "launcher.ray.remote.num_cpus": NON_NEGATIVE,
    "launcher.ray.remote.num_gpus": NON_NEGATIVE,
    "sweeper.batch": optional(COUNT),
    "sweeper.metric": Rule((str,), "a name of a run's `final` figures, as train_loss"),
    "sweeper.better": choice("lower", "higher"),
    "sweeper.sampler": choice("tpe", "random", "grid"),
    "sweeper.n_trials": COUNT,
    "sweeper.n_jobs": COUNT,
    "sweeper.sampler_seed": WHOLE,
}
"""Of hydra.launcher and hydra.sweeper."""


def extra_of(settings, group: str) -> Extra | None:
    """What the member of a group that `settings` (the node `hydra`) chose needs; None for what is always there."""
    return EXTRAS.get((group, settings.runtime.choices[group]))


def checked(settings) -> None:
    """Raises UsageError for a launcher or sweeper that is not installed, or a setting of theirs that is not allowed."""
    from omegaconf import OmegaConf

    for group in ("hydra/launcher", "hydra/sweeper"):
        name, needs = settings.runtime.choices[group], extra_of(settings, group)
        if needs and not _installed(needs.module):
            raise UsageError(f"{group}: {name} needs {needs.package}; pip install 'sobench[{needs.extra}]'")
    for key, rule in RULES.items():
        value = OmegaConf.select(settings, key, default=rule)
        if value is not rule:
            check(f"hydra.{key}", OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, rule)


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:  # its parent
        return False


def without_sweep(config):
    """The configuration that a launcher composes its runs from: no run asks how it is launched, nor by what sweep."""
    from omegaconf import read_write

    config = copy.deepcopy(config)
    with read_write(config):
        words = config.hydra.overrides.hydra
        config.hydra.overrides.hydra = [
            word for word in words if not re.match(r"[~+]*hydra[./](launcher|sweeper)\b", word)
        ]
    return config


def launch(launcher, settings, jobs: Sequence[list[str]]) -> None:
    """Have a launcher make the jobs, each a list of overrides, as many at once as it takes. Raises what it raises."""
    needs = extra_of(settings, "hydra/launcher")
    size = settings.sweeper.batch or (needs.at_once() if needs and needs.at_once else len(jobs))
    for name, value in (needs.environment if needs else {}).items():
        os.environ.setdefault(name, value)
    for begin in range(0, len(jobs), size):
        if not stopping.asked():
            launcher.launch(_Jobs(jobs[begin : begin + size]), initial_job_idx=begin)


class _Jobs(list):
    """The jobs of a launch. For a launcher that takes one after another they end when the sweep is stopped: to compose each of
    thousands, so that it can see that it is not to be made, would take minutes."""

    def __iter__(self) -> Iterator[list[str]]:
        return itertools.takewhile(lambda _: not stopping.asked(), super().__iter__())


@contextmanager
def ended(settings) -> Iterator[None]:
    """Around all the launches of a sweep: at the end, whatever it is, nothing of the launcher's is left."""
    try:
        yield
    finally:
        if needs := extra_of(settings, "hydra/launcher"):
            needs.end()

"""The launchers and sweepers of Hydra: their settings, their differences, and starting the jobs of a sweep. No torch.

The launchers are Hydra's own, with the settings of conf/hydra/launcher/. The outcome of a run is read from its
directory: a launcher reports only that its jobs are over.
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
from typing import TYPE_CHECKING, Any

from sobench.config.extras import check_installed
from sobench.config.rules import COUNT, NON_NEGATIVE, POSITIVE, Rule, check, choice, optional
from sobench.system import stopping
from sobench.system.devices import cores
from sobench.system.parent import Owner, end_with

if TYPE_CHECKING:
    from hydra.plugins.launcher import Launcher
    from omegaconf import DictConfig

SLURM_ARRAY = 1000
"""Jobs of one array: as many as Slurm accepts by default."""

RAY_MEMORY = 78643200
"""Bytes of Ray's object store, those of Hydra's launcher: runs exchange no objects."""


def _nothing(*_: Any) -> None:
    """The `open` and `close` of a launcher that starts nothing and leaves nothing behind."""


@dataclass(frozen=True)
class Traits:
    """The differences between a launcher and the basic one, which runs its jobs in this process."""

    at_once: Callable[[], int] | None = None
    """The number of jobs that one launch may have; None for any number."""
    restores: tuple[str, ...] = ()
    """Environment variables that the launcher changes, and that its processes, on this machine, need unchanged."""
    owns: bool = False
    """Whether its processes, on this machine, would survive this one, and are told to end with it."""
    environment: Mapping[str, str] = field(default_factory=dict)
    """Environment variables that the launcher needs, unless the user has set them."""
    open: Callable[[Any], None] = _nothing
    """Starts what the launcher, the argument, starts before its first job."""
    close: Callable[[], None] = _nothing
    """Ends what the launcher leaves running after its last job."""


def _start_ray(launcher: Any) -> None:
    """Start Ray as its launcher does, but keep sobench's signal handlers: Ray's own would end the sweep at SIGTERM."""
    from hydra_plugins.hydra_ray_launcher._launcher_util import start_ray

    settings = launcher.ray_cfg.init
    settings.setdefault("object_store_memory", RAY_MEMORY)
    with stopping.handlers_kept():
        start_ray(settings)


def _own_joblib_workers(launcher: Any) -> None:
    """Tell each worker at its start to end with this process: one that never gets a job too."""
    launcher.joblib |= {"initializer": end_with, "initargs": (Owner.this_process(),)}


def _end_joblib_workers() -> None:
    """joblib keeps its processes for a next sweep, and would wait at exit until each has taken itself apart: 1.5 s.

    The sweep has waited for the mirror processes of the workers, which end with them.
    """
    if loky := sys.modules.get("joblib.externals.loky"):  # it is imported by the first launch
        loky.get_reusable_executor(reuse=True).shutdown(kill_workers=True)


TRAITS: dict[str, Traits] = {
    "joblib": Traits(owns=True, open=_own_joblib_workers, close=_end_joblib_workers),
    "submitit_local": Traits(at_once=lambda: len(cores()), restores=("CUDA_VISIBLE_DEVICES",), owns=True),
    "submitit_slurm": Traits(at_once=lambda: SLURM_ARRAY),
    # Ray ends all of its processes with its driver
    "ray": Traits(open=_start_ray, environment={"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}),
}
"""By the name of the launcher; those that are not named have the default traits."""

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
"""The rules of the settings of hydra.launcher and hydra.sweeper."""


def checked(hydra: DictConfig) -> None:
    """Raises UsageError for a launcher or sweeper that is not installed, or for a wrong setting of theirs.

    hydra: the node `hydra` of the configuration.
    """
    from omegaconf import OmegaConf

    for group in ("hydra/launcher", "hydra/sweeper"):
        check_installed(group, hydra.runtime.choices[group])
    for key, rule in RULES.items():
        value = OmegaConf.select(hydra, key, default=rule)
        if value is not rule:
            check(f"hydra.{key}", OmegaConf.to_container(value) if OmegaConf.is_config(value) else value, rule)


def traits(hydra: DictConfig) -> Traits:
    """The traits of the launcher that the node `hydra` chooses."""
    return TRAITS.get(hydra.runtime.choices["hydra/launcher"], Traits())


def without_sweep(config: DictConfig) -> DictConfig:
    """The configuration that a launcher composes its jobs from: without overrides of the launcher and the sweeper."""
    from omegaconf import read_write

    config = copy.deepcopy(config)
    chosen = config.hydra.overrides
    with read_write(chosen):
        chosen.hydra = [word for word in chosen.hydra if not re.match(r"[~+]*hydra[./](launcher|sweeper)\b", word)]
    return config


def launch(launcher: Launcher, hydra: DictConfig, jobs: Sequence[list[str]]) -> None:
    """Run the jobs, each a list of overrides, with a launcher, as many in one launch as it may have.

    Ends early when the sweep is stopped. Raises the launcher's exceptions.
    """
    its = traits(hydra)
    size = hydra.sweeper.batch or (its.at_once() if its.at_once else len(jobs))
    for name, value in its.environment.items():
        os.environ.setdefault(name, value)
    its.open(launcher)
    for begin in range(0, len(jobs), size):
        if not stopping.asked():
            launcher.launch(_Jobs(jobs[begin : begin + size]), initial_job_idx=begin)


class _Jobs(list[list[str]]):
    """The jobs of a launch, which end when the sweep is stopped.

    A launcher that runs one job after another composes each before it starts it: for thousands of jobs that are only to
    be skipped this would take minutes.
    """

    def __iter__(self) -> Iterator[list[str]]:
        return itertools.takewhile(lambda _: not stopping.asked(), super().__iter__())


@contextmanager
def closing(hydra: DictConfig) -> Iterator[None]:
    """Around all launches of a sweep: at the end, by an exception too, ends what the launcher leaves running."""
    try:
        yield
    finally:
        traits(hydra).close()

"""The seeds of a cell are composed once in a process, and come out as Hydra composes each."""

import pytest
from hydra.types import RunMode
from omegaconf import OmegaConf

from sobench.config import hydra_private
from sobench.execution import remote


@pytest.mark.parametrize(
    "words", [["optimizer=adam", "optimizer.lr=0.1"], ["model=mlp", "optimizer.lr=${seed}", "experiment=demo/digits"]]
)
def test_seeds_of_a_cell_are_composed_as_hydra_composes_them(words):
    """Each as Hydra has it, whatever was composed before; only the words of the cell are kept."""
    with hydra_private.config_loader() as loader:
        master = loader.load_configuration("config", [], run_mode=RunMode.MULTIRUN)
        ours = remote.CellLoader(loader)
        before = len(remote._composed)
        for seed in (0, 3, 12):
            for place in (0, len(words)):
                job = [*words[:place], f"seed={seed}", *words[place:]]
                want, got = loader.load_sweep_config(master, job), ours.load_sweep_config(master, job)
                want.hydra.job.override_dirname = got.hydra.job.override_dirname  # which sobench does not use
                assert got == want and OmegaConf.to_container(got.optimizer, resolve=True) == OmegaConf.to_container(
                    want.optimizer, resolve=True
                )
        assert len(remote._composed) == before + 1
        job = [*words, "seed=${batch_size}"]
        assert ours.load_sweep_config(master, job) == loader.load_sweep_config(master, job)

"""Trains a network: `python src/train.py activation=silu optimizer.lr=0.01`."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from neuronlab.cli import CONF, command_line, past_hydra
from neuronlab.folders import register_resolvers


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(config: DictConfig) -> float:
    """Trains the run that the configuration describes."""
    job = HydraConfig.get()
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    folder = Path(job.runtime.output_dir)
    with past_hydra(folder):
        from neuronlab.hparams import Chosen
        from neuronlab.solo import (
            train_one,  # torch and Lightning, once the command is known to be one
        )

        return train_one(values, folder, Chosen(job.runtime.choices, list(job.overrides.task)))


if __name__ == "__main__":
    register_resolvers()
    sys.exit(command_line(main, "train"))

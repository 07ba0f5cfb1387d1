"""Trains a network: `python src/train.py activation=silu optimizer.lr=0.01`."""

import sys
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from neuronlab.cli import CONF, command_line, past_hydra
from neuronlab.configs import plain
from neuronlab.resolvers import register_resolvers


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="train")
def main(config: DictConfig) -> float:
    """Trains the run that the configuration describes."""
    job = HydraConfig.get()
    with past_hydra():
        # torch and Lightning come in here, once the command is known to be one
        from neuronlab.hparams import Chosen
        from neuronlab.solo import train_job, train_one

        chosen = Chosen(job.runtime.choices, list(job.overrides.task))
        train = train_job if job.mode == RunMode.MULTIRUN else train_one
        return train(plain(config), Path(job.runtime.output_dir), chosen)


if __name__ == "__main__":
    register_resolvers()
    sys.exit(command_line(main, "train"))

"""Asks a trained network: `python src/predict.py run=outputs/runs/... 'inputs=[[5,7]]'`."""

import sys

import hydra
from omegaconf import DictConfig, OmegaConf

from neuronlab.cli import CONF, command_line, past_hydra


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
def main(config: DictConfig) -> None:
    """Prints the network's answers."""
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    with past_hydra():
        from neuronlab.predict import (
            predict,  # torch and Lightning, once the command is known to be one
        )

        predict(values)


if __name__ == "__main__":
    sys.exit(command_line(main, "predict"))

"""Asks a trained network: `python src/predict.py run=outputs/runs/... 'inputs=[[5,7]]'`."""

import sys

import hydra
from omegaconf import DictConfig

from neuronlab.cli import CONF, command_line, past_hydra
from neuronlab.configs import plain


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="predict")
def main(config: DictConfig) -> None:
    """Prints the network's answers."""
    with past_hydra():
        # torch and Lightning come in here, once the command is known to be one
        from neuronlab.predict import predict

        predict(plain(config))


if __name__ == "__main__":
    sys.exit(command_line(main, "predict"))

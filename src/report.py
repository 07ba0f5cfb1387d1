"""Writes the page of a sweep: `python src/report.py sweep=outputs/sweeps/...`."""

import sys

import hydra
from omegaconf import DictConfig

from neuronlab.cli import CONF, command_line, past_hydra
from neuronlab.configs import plain


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="report")
def main(config: DictConfig) -> None:
    """Writes the page."""
    with past_hydra():
        # plotly, pandas and SciPy come in here, once the command is known to be one
        from neuronlab.report.build import report

        report(plain(config))


if __name__ == "__main__":
    sys.exit(command_line(main, "report"))

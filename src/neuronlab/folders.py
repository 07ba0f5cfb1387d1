"""Where runs are kept, and how to find them again."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from omegaconf import OmegaConf


def register_resolvers() -> None:
    """Makes `${run_folder:ckpt_path,otherwise}` and `${or:value,otherwise}` known to `conf/`."""
    OmegaConf.register_new_resolver("run_folder", run_folder, replace=True)
    OmegaConf.register_new_resolver(
        "or", lambda value, otherwise: otherwise if value is None else value, replace=True
    )


def run_folder(ckpt_path: str | None, otherwise: str) -> str:
    """The folder of a run: that of the checkpoint that it goes on from, so its curves go on too.

    Args:
        ckpt_path: `<folder>/checkpoints/last.ckpt`, or None for a new run.
        otherwise: The folder of a new run.
    """
    if ckpt_path is None or not Path(ckpt_path).exists():
        return otherwise
    parent = Path(ckpt_path).parent
    return str(parent.parent) if parent.name == "checkpoints" else otherwise


def short(path: Path) -> str:
    """A path as seen from here, where that is shorter."""
    return min(os.path.relpath(path), str(path), key=len)


def program(name: str) -> Path:
    """A program of the environment that is running, which need not be on the user's PATH."""
    beside = Path(sys.executable).with_name(name)
    return beside if beside.exists() else Path(name)


def newest_run(root: Path) -> Path | None:
    """The run with the newest checkpoint below a folder, or None."""
    checkpoints = root.glob("**/checkpoints/last.ckpt")
    newest = max(checkpoints, key=lambda path: path.stat().st_mtime, default=None)
    return None if newest is None else newest.parents[1]

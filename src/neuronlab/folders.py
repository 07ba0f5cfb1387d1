"""Where runs are kept, and how to find them again."""

from __future__ import annotations

import hashlib
import os
import re
import sys
from pathlib import Path

NAME_BYTES = 200  # file systems allow 255, and tools put suffixes behind
# Separators of paths, what Windows forbids, control characters; no name begins or ends with a dot
# or a space.
UNSAFE = re.compile(r'[/\\:*?"<>|\x00-\x1f\x7f]|^[. ]+|[. ]+$')


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


def run_name(override_dirname: str) -> str:
    """The folder of one of a sweep's jobs, which any file system takes: one folder per job.

    Args:
        override_dirname: The job's overrides, as `activation=silu,optimizer.lr=0.1`.
    """
    if not override_dirname:
        return "run"
    name = UNSAFE.sub("_", re.sub("[\"']", "", override_dirname))
    if name == override_dirname and len(name.encode()) <= NAME_BYTES:
        return name
    mark = "-" + hashlib.sha256(override_dirname.encode()).hexdigest()[:8]
    kept = name.encode()[: NAME_BYTES - len(mark)].decode(errors="ignore")
    return kept + mark


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

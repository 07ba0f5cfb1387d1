"""TensorBoard's HParams tab: what was chosen for a run beside what it came to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.plugins.hparams import api_pb2, metadata
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData, SessionStartInfo

from neuronlab.configs import flatten
from neuronlab.errors import show

GROUPS = ("data", "model", "activation", "loss", "optimizer")
Value = float | str | bool


@dataclass(frozen=True)
class Chosen:
    """What was chosen on the command line.

    Attributes:
        options: The option of each configuration group.
        overrides: The overrides, as `optimizer.lr=0.1`.
    """

    options: Mapping[str, str | None] = field(default_factory=dict)
    overrides: Sequence[str] = ()

    def keys(self) -> set[str]:
        """The keys that were overridden."""
        return {override.partition("=")[0].lstrip("+~") for override in self.overrides}


def hyperparameters(config: Mapping[str, Any], chosen: Chosen) -> dict[str, Value]:
    """The columns of the tab: chosen options, and values by their paths.

    Args:
        config: The configuration of a run, resolved to plain values.
        chosen: What was chosen on the command line.
    """
    options: dict[str, Value] = {
        group: show(chosen.options[group]) for group in GROUPS if group in chosen.options
    }
    tree = {key: config[key] for key in ("seed", *GROUPS)}
    tree["model"] = {k: v for k, v in config["model"].items() if k != "activation"}
    tree["trainer"] = {"max_epochs": config["trainer"].get("max_epochs")}
    values = {
        path: value if isinstance(value, (int, float, str)) else show(value)
        for path, value in flatten(tree)
        if not path.rpartition(".")[2].startswith("_")
    }
    return options | values


def summaries(
    parameters: Mapping[str, Value], first: Iterable[str], metrics: Iterable[str]
) -> list[Summary.Value]:
    """A run's row of the tab, for TensorBoard to read.

    Args:
        parameters: The hyperparameters.
        first: The names of those that come first; the tab shows five at the start.
        metrics: Tags of scalars, whose last points are the final metrics; the first is shown.
    """
    first = set(first)
    infos = [
        api_pb2.HParamInfo(name=name, type=_kind(value)[1], differs=name in first)
        for name, value in parameters.items()
    ]
    measured = [api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag)) for tag in metrics]
    # TensorBoard's own `hparams_config_pb` cannot say which parameters come first, and its
    # `hparams_pb` names runs by a hash; without a name the tab shows that of the run's folder.
    start = SessionStartInfo()
    for name, value in parameters.items():
        setattr(start.hparams[name], _kind(value)[0], value)
    experiment = api_pb2.Experiment(hparam_infos=infos, metric_infos=measured)
    return [
        _value(metadata.EXPERIMENT_TAG, HParamsPluginData(experiment=experiment)),
        _value(metadata.SESSION_START_INFO_TAG, HParamsPluginData(session_start_info=start)),
    ]


def _value(tag: str, content: HParamsPluginData) -> Summary.Value:
    described = metadata.create_summary_metadata(content)
    return Summary.Value(tag=tag, tensor=metadata.NULL_TENSOR, metadata=described)


def _kind(value: Value) -> tuple[str, int]:
    """The field of a protocol buffer that holds a value, and what TensorBoard calls its type."""
    if isinstance(value, bool):  # before numbers, since Python takes it for one
        return "bool_value", api_pb2.DATA_TYPE_BOOL
    if isinstance(value, str):
        return "string_value", api_pb2.DATA_TYPE_STRING
    return "number_value", api_pb2.DATA_TYPE_FLOAT64

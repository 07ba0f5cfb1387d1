"""Update rules for many networks at once: every hyperparameter is a tensor over members.

Letters: N members.

`torch.optim`, which a run alone uses, takes one number for each hyperparameter; here each member
has its own. A rule turns a gradient into a direction; the step along it comes last.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

State = dict[str, Tensor]  # of one stacked parameter, named as torch.optim names it


class Hyper:
    """The hyperparameters of all members, to be broadcast against one stacked parameter.

    What is computed from one, as 1 − β, is computed in double precision and then rounded, as torch
    does with its Python numbers: in single precision 1 − 0.999 is off in the fifth digit.
    """

    def __init__(self, values: Mapping[str, Tensor], like: Tensor) -> None:
        """Takes double precision values [N] by name, and the stacked parameter [N, …]."""
        shape = (-1, *[1] * (like.dim() - 1))
        self._exact = {name: value.to(like.device).view(shape) for name, value in values.items()}
        self._rounded = {name: value.to(like.dtype) for name, value in self._exact.items()}
        self._rest = {name: (1 - value).to(like.dtype) for name, value in self._exact.items()}
        self._dtype = like.dtype

    def __contains__(self, name: str) -> bool:
        """Whether any member has a number other than 0 where 0 leaves a term out."""
        return name in self._exact

    def __getitem__(self, name: str) -> Tensor:
        """The numbers [N, 1, …]."""
        return self._rounded[name]

    def rest(self, name: str) -> Tensor:
        """1 − the numbers [N, 1, …]."""
        return self._rest[name]

    def correction(self, name: str, steps: int) -> Tensor:
        """1 − β^steps [N, 1, …]: how much of an average that began at 0 is there (Adam)."""
        return (1 - self._exact[name] ** steps).to(self._dtype)


class Step(NamedTuple):
    """What a rule sees of one stacked parameter.

    Attributes:
        parameter: [N, …].
        gradient: [N, …].
        state: What it keeps from step to step, to be changed in place.
        hyper: The numbers.
        flags: The switches, which members share.
        steps: How many steps have been taken before.
    """

    parameter: Tensor
    gradient: Tensor
    state: State
    hyper: Hyper
    flags: Mapping[str, bool]
    steps: int

    def decayed(self) -> Tensor:
        """The gradient of loss + weight_decay/2·‖parameter‖², as torch adds it."""
        if "weight_decay" not in self.hyper:
            return self.gradient
        return self.gradient + self.hyper["weight_decay"] * self.parameter


@dataclass(frozen=True)
class Rule:
    """An update rule.

    Attributes:
        direction: What times lr is subtracted from the parameter.
        defaults: torch's default for each number that may differ between members; a pair of
            numbers, as betas, has a default for each.
        flags: torch's default for each switch, which members share.
        decays_weights: Whether weight decay shrinks the parameter itself, before the step.
    """

    direction: Callable[[Step], Tensor]
    defaults: Mapping[str, float]
    flags: Mapping[str, bool]
    decays_weights: bool = False


def _sgd(step: Step) -> Tensor:
    """`torch.optim.SGD`: the first velocity is the gradient itself, without dampening."""
    gradient, hyper, state = step.decayed(), step.hyper, step.state
    if "momentum" not in hyper:
        return gradient
    momentum = hyper["momentum"]
    if not state:
        velocity = state["momentum_buffer"] = gradient.clone()
    else:
        added = hyper.rest("dampening") * gradient if "dampening" in hyper else gradient
        velocity = state["momentum_buffer"].mul_(momentum).add_(added)
    direction = gradient + momentum * velocity if step.flags["nesterov"] else velocity
    # Without momentum torch leaves dampening out as well.
    return torch.where(momentum == 0, gradient, direction)


def _adam(step: Step) -> Tensor:
    """`torch.optim.Adam` (Kingma and Ba 2015, algorithm 1, with weight decay in the gradient)."""
    return _adam_direction(step, step.decayed())


def _adamw(step: Step) -> Tensor:
    """`torch.optim.AdamW` (Loshchilov and Hutter 2019, algorithm 2): the decay is not averaged."""
    return _adam_direction(step, step.gradient)


def _adam_direction(step: Step, gradient: Tensor) -> Tensor:
    hyper, state = step.hyper, step.state
    if not state:
        state["exp_avg"], state["exp_avg_sq"] = (torch.zeros_like(gradient) for _ in range(2))
    mean = state["exp_avg"].lerp_(gradient, hyper.rest("betas.0"))
    added = hyper.rest("betas.1") * gradient.square()
    square = state["exp_avg_sq"].mul_(hyper["betas.1"]).add_(added)
    corrected = square / hyper.correction("betas.1", step.steps + 1)
    return mean / hyper.correction("betas.0", step.steps + 1) / (corrected.sqrt_() + hyper["eps"])


def _rmsprop(step: Step) -> Tensor:
    """`torch.optim.RMSprop`; centered after Graves 2013, equations 38 to 45."""
    gradient, hyper, state = step.decayed(), step.hyper, step.state
    names = ["square_avg", *(["grad_avg"] if step.flags["centered"] else [])]
    names += ["momentum_buffer"] if "momentum" in hyper else []
    if not state:
        state.update({name: torch.zeros_like(gradient) for name in names})
    rest = hyper.rest("alpha")
    spread = state["square_avg"].mul_(hyper["alpha"]).add_(rest * gradient.square())
    if step.flags["centered"]:
        mean = state["grad_avg"].lerp_(gradient, rest)
        spread = torch.addcmul(spread, mean, mean, value=-1)
    direction = gradient / (spread.sqrt() + hyper["eps"])
    if "momentum" in hyper:  # 0 leaves the direction as it is
        return state["momentum_buffer"].mul_(hyper["momentum"]).add_(direction)
    return direction


def _adagrad(step: Step) -> Tensor:
    """`torch.optim.Adagrad` (Duchi et al. 2011), with torch's decay of the rate over steps."""
    gradient, hyper, state = step.decayed(), step.hyper, step.state
    if not state:
        state["sum"] = torch.zeros_like(gradient)
        if "initial_accumulator_value" in hyper:
            state["sum"] += hyper["initial_accumulator_value"]
    total = state["sum"].add_(gradient.square())
    direction = gradient / (total.sqrt() + hyper["eps"])
    return direction / (1 + step.steps * hyper["lr_decay"]) if "lr_decay" in hyper else direction


ADAM = {"lr": 1e-3, "betas.0": 0.9, "betas.1": 0.999, "eps": 1e-8}
RULES: dict[str, Rule] = {
    "torch.optim.SGD": Rule(
        _sgd,
        {"lr": 1e-3, "momentum": 0.0, "dampening": 0.0, "weight_decay": 0.0},
        {"nesterov": False},
    ),
    "torch.optim.Adam": Rule(_adam, {**ADAM, "weight_decay": 0.0}, {}),
    "torch.optim.AdamW": Rule(_adamw, {**ADAM, "weight_decay": 1e-2}, {}, decays_weights=True),
    "torch.optim.RMSprop": Rule(
        _rmsprop,
        {"lr": 1e-2, "alpha": 0.99, "eps": 1e-8, "weight_decay": 0.0, "momentum": 0.0},
        {"centered": False},
    ),
    "torch.optim.Adagrad": Rule(
        _adagrad,
        {
            "lr": 1e-2,
            "lr_decay": 0.0,
            "weight_decay": 0.0,
            "initial_accumulator_value": 0.0,
            "eps": 1e-10,
        },
        {},
    ),
}
# Numbers without which a formula stays whole: where every member has 0, the term is left out.
OPTIONAL = ("momentum", "dampening", "weight_decay", "lr_decay", "initial_accumulator_value")
COUNTED = ("Adam", "AdamW", "RMSprop", "Adagrad")  # those whose torch.optim state has a `step`


def rule_of(config: Mapping[str, Any]) -> Rule | None:
    """The rule for an optimizer's configuration, or None where its torch class has to do.

    Args:
        config: The `optimizer` node, checked by `neuronlab.checks`.
    """
    rule = RULES.get(config["_target_"])
    if rule is None:
        return None
    numbers = {name.partition(".")[0] for name in rule.defaults}
    given = {key for key in config if key != "_target_"}
    return rule if given <= numbers | rule.flags.keys() else None


class MemberOptimizer(torch.optim.Optimizer):
    """One rule over stacked parameters [N, …], with hyperparameters of each member's own.

    Its state is named as that of the torch class, with a leading member axis.
    """

    def __init__(self, parameters: Iterable[Tensor], configs: Sequence[Mapping[str, Any]]) -> None:
        """Takes the stacked parameters and N configurations of one rule with equal flags."""
        super().__init__(parameters, {})
        rule = rule_of(configs[0])
        assert rule is not None
        self.rule = rule
        self.counts = configs[0]["_target_"].rpartition(".")[2] in COUNTED
        self.flags = {name: configs[0].get(name, value) for name, value in rule.flags.items()}
        values = {
            name: torch.tensor([_number(c, name, default) for c in configs], dtype=torch.float64)
            for name, default in rule.defaults.items()
        }
        self.values = {  # [N] each
            name: value for name, value in values.items() if name not in OPTIONAL or value.any()
        }
        self.steps = 0
        self._hyper: dict[Tensor, Hyper] = {}

    def hyper(self, parameter: Tensor) -> Hyper:
        """The hyperparameters, to be broadcast against a parameter."""
        if parameter not in self._hyper:
            self._hyper[parameter] = Hyper(self.values, parameter)
        return self._hyper[parameter]

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Takes one step for every member; the closure computes the gradients."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for parameter in self.param_groups[0]["params"]:
            if parameter.grad is None:
                continue
            hyper, state = self.hyper(parameter), self.state[parameter]
            if self.rule.decays_weights and "weight_decay" in hyper:
                parameter.mul_(1 - hyper["lr"] * hyper["weight_decay"])
            step = Step(parameter, parameter.grad, state, hyper, self.flags, self.steps)
            parameter.sub_(hyper["lr"] * self.rule.direction(step))
            if self.counts:
                state["step"] = torch.tensor(float(self.steps + 1))
        self.steps += 1
        return loss


def _number(config: Mapping[str, Any], name: str, default: float) -> float:
    """A hyperparameter of a configuration; `betas.0` is the first of `betas`."""
    key, _, index = name.partition(".")
    if key not in config:
        return default
    return float(config[key][int(index)] if index else config[key])


def member_state(
    states: Sequence[Mapping[str, Tensor]], member: int, config: Mapping[str, Any]
) -> dict[int, dict[str, Tensor]]:
    """One member's optimizer state, as the `state` of a `torch.optim` class's `state_dict`.

    Args:
        states: The state of each stacked parameter.
        member: Which member.
        config: Its `optimizer` node: without momentum torch keeps no velocity.
    """
    still = config.get("momentum", None) == 0
    return {
        index: {
            name: value[member] if value.dim() else value
            for name, value in state.items()
            if not (still and name == "momentum_buffer")
        }
        for index, state in enumerate(states)
        if state and not (still and list(state) == ["momentum_buffer"])
    }

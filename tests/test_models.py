import numpy as np
import pytest
import torch
from torch import nn

from neuronlab.losses import bce, mse
from neuronlab.models import MLP, Linear, Neuron


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_linear_draws_what_torch_draws() -> None:
    ours = Linear(5, 3, generator(7))
    with torch.random.fork_rng():
        torch.manual_seed(7)
        theirs = nn.Linear(5, 3)
    assert torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_building_leaves_the_global_generator_alone() -> None:
    before = torch.get_rng_state()
    MLP(4, [8, 3], 1, nn.PReLU(), generator=generator())
    Neuron(4, generator=generator())
    assert torch.equal(before, torch.get_rng_state())


def test_normal_init_is_lesson_000() -> None:
    weights = torch.cat([Neuron(100, generator=generator(s)).weight[0] for s in range(100)])
    neuron = Neuron(3, generator=generator())
    assert neuron.bias.item() == 0
    # 10 000 draws of N(0, 1): the mean within 4 standard errors, the variance likewise
    assert abs(weights.mean().item()) < 4 / 100
    assert abs(weights.var().item() - 1) < 4 * np.sqrt(2 / 10_000)


def test_mlp_is_matrix_products_and_activations() -> None:
    net = MLP(3, [4, 2], 2, nn.Tanh(), "softmax", generator=generator())
    named = {name: p.detach().numpy() for name, p in net.named_parameters()}
    x = np.random.default_rng(0).normal(size=(5, 3)).astype(np.float32)
    hidden = x
    for layer in ("layer1", "layer2"):
        hidden = np.tanh(hidden @ named[f"{layer}.weight"].T + named[f"{layer}.bias"])
    logits = hidden @ named["layer3.weight"].T + named["layer3.bias"]
    softmax = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(net.logits(torch.tensor(x)).detach(), logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(net(torch.tensor(x)).detach(), softmax, rtol=1e-5)


@pytest.mark.parametrize("activation", [nn.ReLU(), nn.SiLU(), nn.Tanh(), nn.Sigmoid(), nn.GELU()])
@pytest.mark.parametrize("loss", [mse, bce])
@pytest.mark.parametrize("kind", ["neuron", "mlp"])
def test_gradients_are_finite_differences(kind: str, loss, activation: nn.Module) -> None:  # type: ignore[no-untyped-def]
    net: nn.Module = (
        Neuron(3, 1, "sigmoid", generator=generator(1))
        if kind == "neuron"
        else MLP(3, [4], 1, activation, "sigmoid", generator=generator(1))
    ).double()
    x = torch.randn(6, 3, dtype=torch.float64, generator=generator(2))
    y = torch.tensor([[0.0], [1.0], [1.0], [0.0], [1.0], [0.0]], dtype=torch.float64)

    def value() -> torch.Tensor:
        return loss(net.logits(x) if loss.on == "logit" else net(x), y)  # type: ignore[operator]

    value().backward()
    step = 1e-6
    for parameter in net.parameters():
        assert parameter.grad is not None
        flat, gradient = parameter.data.view(-1), parameter.grad.view(-1)
        for index in range(len(flat)):
            kept = flat[index].item()
            flat[index] = kept + step
            above = value().item()
            flat[index] = kept - step
            below = value().item()
            flat[index] = kept
            assert gradient[index].item() == pytest.approx((above - below) / (2 * step), abs=1e-7)


def test_each_layer_has_an_activation_of_its_own() -> None:
    net = MLP(2, [3, 3], 1, nn.PReLU(), generator=generator())
    assert net.activation1 is not net.activation2


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MLP(2, [0], 1, nn.ReLU(), generator=generator()), r"hidden=\[0\]: must be a list"),
        (lambda: MLP(2, [3], 1, nn.ReLU(), "softmax", generator=generator()), "output=softmax"),
        (lambda: Neuron(2, 3, generator=generator()), "out_features=3: must be 1"),
        (lambda: Neuron(2, init="zeros", generator=generator()), "init=zeros: must be normal or"),  # type: ignore[arg-type]
    ],
)
def test_refusals_say_what_came_and_what_is_allowed(make, message: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=message):
        make()

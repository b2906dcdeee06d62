import json
from typing import Literal

import pytest
import torch

from dcan.errors import DcanError
from dcan.net.model import DCAN, Architecture
from dcan.net.networks import Network, Start, build, initialise, layout, reach

SMALL = (
    Architecture(4),
    Architecture(4, 3),
    Architecture(4, 6, "convolve"),
    Architecture(4, heads=("C1",)),
    Architecture(4, heads=("C2",)),
    Architecture(4, heads=("C1", "C3")),
    Architecture(4, kind="unet"),
)


def network(architecture: Architecture, seed: int = 0, start: Start = "bilinear") -> Network:
    model = build(architecture)
    initialise(model, seed, start)
    return model


def weighed(architecture: Architecture) -> tuple[int, float, list[int]]:
    """Parameters, FLOP a pixel, and how many convolutions and deconvolutions."""
    flops: dict[type, list[int]] = {torch.nn.Conv2d: [], torch.nn.ConvTranspose2d: []}

    def count(module: torch.nn.Module, given: tuple[torch.Tensor], made: torch.Tensor) -> None:
        # Each weight meets each pixel of the coarser side once.
        pixels = min(given[0][0, 0].numel(), made[0, 0].numel())
        flops[type(module)].append(2 * module.weight.numel() * pixels)

    model = build(architecture)
    for module in model.modules():
        if type(module) in flops:
            module.register_forward_hook(count)
    model(torch.zeros(1, 1, 16, 16))
    parameters = sum(p.numel() for p in model.parameters())
    return parameters, sum(map(sum, flops.values())) / 16**2, [len(f) for f in flops.values()]


def test_sizes_are_the_published_ones() -> None:
    parameters, flops, layers = weighed(Architecture())
    assert parameters == pytest.approx(7.9e6, rel=0.01)
    assert flops == pytest.approx(568e3, rel=0.005)
    assert layers == [16, 3]


@pytest.mark.parametrize(
    ("ours", "fewer", "times"),
    [
        (Architecture(64, 32, "convolve"), 0.0250, 1.909),
        (Architecture(16, 32, "convolve"), 0.1142, 1.632),
        (Architecture(), 0.0299, 1.969),
    ],
    ids=["default", "narrow", "published"],
)
def test_the_peer_has_fewer_parameters_and_more_operations(
    ours: Architecture, fewer: float, times: float
) -> None:
    one, peer = weighed(ours), weighed(Architecture(ours.width, kind="unet"))
    assert 1 - peer[0] / one[0] == pytest.approx(fewer, abs=1e-4)
    assert peer[1] / one[1] == pytest.approx(times, abs=1e-3)


def test_the_default_head_has_the_size_that_is_told_of_it() -> None:
    parameters, flops, _ = weighed(default := Architecture(64, 32, "convolve"))
    assert parameters == 7_893_804
    assert flops == pytest.approx(587e3, abs=500)
    assert reach(default) == 61


def test_of_fewer_heads_only_the_stages_that_they_need_are_left() -> None:
    assert [len(DCAN(Architecture(2, heads=(h,))).stages) for h in ("C1", "C2", "C3")] == [2, 3, 4]
    whole = network(SMALL[0])
    part = network(SMALL[5])
    part.load_state_dict(
        {
            k.replace("heads.2", "heads.1"): v
            for k, v in whole.state_dict().items()
            if "heads.1" not in k
        }
    )
    em = torch.randn(1, 1, 16, 16)
    _, (c1, _, c3) = whole(em)
    fused, heads = part(em)
    assert torch.equal(heads[0], c1)
    assert torch.equal(heads[1], c3)
    torch.testing.assert_close(fused, c1 + c3)


@pytest.mark.parametrize("architecture", SMALL)
def test_maps_have_the_shape_of_the_window_and_the_fused_map_is_their_sum(
    architecture: Architecture,
) -> None:
    fused, heads = network(architecture)(torch.randn(2, 1, 24, 40))
    assert fused.shape == (2, 2, 24, 40)
    wanted = len(architecture.heads) if architecture.kind == "dcan" else 0
    assert [tuple(head.shape) for head in heads] == [(2, 2, 24, 40)] * wanted
    if heads:
        torch.testing.assert_close(fused, torch.stack(heads).sum(0))


@pytest.mark.parametrize("kind", ["dcan", "unet"])
def test_a_window_off_the_grid_of_8_is_refused(kind: Literal["dcan", "unet"]) -> None:
    with pytest.raises(ValueError, match="multiples of 8"):
        network(Architecture(2, kind=kind))(torch.zeros(1, 1, 20, 24))


def measured_reach(architecture: Architecture) -> int:
    """By autograd, with equal positive weights, so that no path cancels another."""
    model = build(architecture)
    for parameter in model.parameters():
        torch.nn.init.constant_(parameter, 0.01)
    middle = 96
    # A maximum has a gradient at one of its four pixels only; a mean at all.
    model.pool = torch.nn.AvgPool2d(2, 2)  # type: ignore[assignment]
    farthest = 0
    for pixel in range(middle, middle + 8):
        em = torch.ones(1, 1, 2 * middle, 8, requires_grad=True)
        fused, _ = model(em)
        fused[0, 0, pixel, 4].backward()
        rows = em.grad[0, 0].sum(1).nonzero().flatten()
        farthest = max(farthest, pixel - int(rows.min()), int(rows.max()) - pixel)
    return farthest


@pytest.mark.parametrize("architecture", SMALL)
def test_reach_is_what_autograd_sees(architecture: Architecture) -> None:
    assert reach(architecture) == measured_reach(architecture) <= 64


def test_initial_weights_follow_the_seed_alone() -> None:
    torch.manual_seed(5)
    one = network(Architecture(4), seed=1).state_dict()
    torch.manual_seed(6)
    two = network(Architecture(4), seed=1).state_dict()
    other = network(Architecture(4), seed=2).state_dict()
    assert all(torch.equal(one[name], two[name]) for name in one)
    assert not torch.equal(one["stages.0.0.weight"], other["stages.0.0.weight"])


def test_convolutions_start_as_he_says() -> None:
    weight = network(Architecture(32)).stages[3][2].weight
    assert float(weight.detach().std()) == pytest.approx((2 / (256 * 9)) ** 0.5, rel=0.02)


def test_a_deconvolution_starts_as_bilinear_interpolation() -> None:
    head = network(Architecture(2, 2, "convolve")).heads[2]
    flat = head.deconvolution(torch.ones(1, 2, 6, 6))[..., 8:-8, 8:-8]
    torch.testing.assert_close(flat, torch.ones_like(flat))
    ramp = head.deconvolution(torch.arange(6.0).expand(1, 2, 6, 6))[0, 0, 20, 8:-8]
    # Pixel centres: output pixel o lies at (o + 1/2) / 8 - 1/2 of the input.
    torch.testing.assert_close(ramp, (torch.arange(8, 40) + 0.5) / 8 - 0.5)


def test_a_deconvolution_that_starts_at_random_keeps_the_variance() -> None:
    for architecture in (Architecture(32, 16), Architecture(32, kind="unet")):
        model = network(architecture, start="random")
        for module in model.modules():
            if isinstance(module, torch.nn.ConvTranspose2d):
                given = torch.randn(4, module.in_channels, 12, 12)
                made = module(given)[..., 16:-16, 16:-16] if module.stride[0] > 2 else module(given)
                assert float(made.detach().var()) == pytest.approx(2, rel=0.35)
    one, two = (network(SMALL[0], start=start).state_dict() for start in ("random", "bilinear"))
    changed = {name for name in one if not torch.equal(one[name], two[name])}
    assert {f"heads.{i}.deconvolution.weight" for i in range(3)} <= changed


@pytest.mark.parametrize("architecture", SMALL)
def test_layout_names_the_tensors_of_the_network(architecture: Architecture) -> None:
    shapes = {name: tuple(t.shape) for name, t in build(architecture).state_dict().items()}
    assert layout(json.loads(json.dumps(architecture.plain()))) == shapes


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0},
        {"width": "16"},
        {"width": True},
        {"width": 10**9},
        {"inner": 0},
        {"head": "x"},
        {"kind": "resnet"},
        {"heads": []},
        {"heads": ["C2", "C1"]},
        {"heads": ["C4"]},
        {"heads": "C1"},
        {"heads": 1},
        {"depth": 1},
    ],
)
def test_an_impossible_architecture_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(DcanError, match=next(iter(change))):
        layout({**Architecture().plain(), **change})


def test_an_incomplete_architecture_is_refused() -> None:
    with pytest.raises(DcanError, match="inner"):
        Architecture.parse({"width": 4, "head": "upsample"})

import numpy as np
import pytest
import torch
from torch import Tensor

from dcan.errors import DcanError
from dcan.net.model import DCAN, Architecture
from dcan.net.rule import RULES, cross_entropy, discount, learning_rate, loss, named, optimiser

SHAPE = (2, 2, 5, 7)


def logits(seed: int) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    fused, c1, c2, c3 = (torch.randn(SHAPE, generator=generator) for _ in range(4))
    return fused, (c1, c2, c3)


def target(seed: int) -> Tensor:
    drawn = np.random.default_rng(seed).integers(0, 3, (2, 5, 7), dtype=np.uint8)
    return torch.from_numpy(drawn)


def test_cross_entropy_is_that_of_torch_with_membrane_as_class_1() -> None:
    fused, _ = logits(0)
    wanted = target(0)
    classes = torch.tensor([1, 0, -100])[wanted.long()]
    reference = torch.nn.functional.cross_entropy(fused, classes, reduction="sum")
    torch.testing.assert_close(cross_entropy(fused, wanted), reference)


def test_the_loss_is_the_fused_one_and_the_discounted_heads() -> None:
    fused, heads = logits(1)
    wanted = target(1)
    labelled = int((wanted != 2).sum())
    parts = [float(cross_entropy(each, wanted)) / labelled for each in (fused, *heads)]
    found = loss((fused, heads), wanted, 0.1)
    assert float(found.total) == pytest.approx(parts[0] + 0.1 * sum(parts[1:]), rel=1e-5)
    assert [float(part) for part in (found.fused, *found.heads)] == pytest.approx(parts, rel=1e-5)


def test_an_unknown_pixel_has_no_gradient_even_where_its_logits_are_huge() -> None:
    fused, heads = logits(2)
    fused[0, 0, 0, 0] = 1e30
    fused.requires_grad_()
    wanted = target(2)
    wanted[0, 0, 0] = 2
    loss((fused, heads), wanted, 1.0).total.backward()
    assert torch.isfinite(fused.grad).all()
    assert (fused.grad[0, :, 0, 0] == 0).all()
    assert (fused.grad[:, 0][wanted != 2] != 0).all()


def test_nothing_labelled_is_no_loss_not_nan() -> None:
    fused, heads = logits(3)
    assert float(loss((fused, heads), torch.full((2, 5, 7), 2, dtype=torch.uint8), 1.0).total) == 0


def test_discount_falls_by_ten_each_third_to_its_floor() -> None:
    assert [discount(step, 6) for step in range(6)] == [1, 1, 0.1, 0.1, 0.01, 0.01]
    assert discount(99, 100, periods=5) == 0.01
    assert [discount(step, 3, start=0.2) for step in range(3)] == pytest.approx([0.2, 0.02, 0.01])
    assert discount(99, 100, periods=5, floor=0.0) == pytest.approx(1e-4)


def test_the_paper_divides_the_rate_by_ten_every_2000_steps() -> None:
    rule = RULES["paper"]
    rates = [learning_rate(rule, step, 6000) for step in (0, 1999, 2000, 3999, 4000)]
    assert rates == pytest.approx([0.01, 0.01, 1e-3, 1e-3, 1e-4])
    sgd = optimiser(rule, DCAN(Architecture(1)))
    assert isinstance(sgd, torch.optim.SGD)
    assert (sgd.defaults["momentum"], sgd.param_groups[0]["weight_decay"]) == (0.9, 5e-4)


@pytest.mark.parametrize("steps", [1, 2, 7, 1000])
def test_cosine_rises_then_falls_towards_zero(steps: int) -> None:
    rule = RULES["adam-cosine"]
    rates = [learning_rate(rule, step, steps) for step in range(steps)]
    top = rates.index(max(rates))
    assert min(rates) > 0
    assert rates[top] == rule.start
    assert rates[: top + 1] == sorted(rates[: top + 1])
    assert rates[top:] == sorted(rates[top:], reverse=True)
    assert steps < 1000 or rates[-1] < 1e-5 * rule.start


def test_biases_do_not_decay() -> None:
    model = DCAN(Architecture(1))
    decayed, free = optimiser(RULES["adam-cosine"], model).param_groups
    assert decayed["weight_decay"] == RULES["adam-cosine"].decay > 0 == free["weight_decay"]
    assert {p.dim() for p in free["params"]} == {1}
    assert len(decayed["params"]) + len(free["params"]) == len(list(model.parameters()))


def test_an_unknown_rule_is_refused() -> None:
    with pytest.raises(DcanError, match="adam-cosine, paper"):
        named("lion")

"""Chapter 30's lines for equation 2 against the model that is trained by them."""

from pathlib import Path

import nbformat
import pytest
import torch

from saccade_lib.models import tnet

ROOT = Path(__file__).resolve().parents[1]
CHAPTER = ROOT / "notebooks" / "30-traversal-learning-rule.ipynb"


@pytest.fixture(scope="module")
def chapter_loss():
    cells = {cell.id: cell.source for cell in nbformat.read(CHAPTER, 4).cells}
    space = {}
    exec(cells["loss-of-equation-2"], space)
    return space["loss_of_equation_2"]


@pytest.fixture(params=["sum", "ordered"])
def model(request):
    torch.manual_seed(0)
    config = tnet.mini(3, 1, locations=(2,), log_prob=request.param, lambda_r=0.4)
    made = tnet.TNet(config).eval()
    with torch.no_grad():  # away from the uniform policy and from equal answers
        for weight in (*made.locate.parameters(), *made.classify.parameters()):
            weight.add_(torch.randn_like(weight), alpha=0.3)
    return made


def by_the_chapter(model, batch, chapter_loss):
    """The chapter's loss from the pieces of a traversal (top cells: no draw)."""
    seen, y = model.traverse(batch["image"]), batch["label"]
    averaged = model.classify(seen.vectors.mean(dim=1)).log_softmax(dim=-1)
    each = model.classify(seen.vectors).log_softmax(dim=-1)  # (B, 1 + A, classes)
    images = torch.arange(len(y))
    R = (averaged.argmax(dim=1) == y).float()
    R_each = (each[:, 1:].argmax(dim=2) == y[:, None]).float()
    lambdas = [getattr(model.config, f"lambda_{name}") for name in "fcr"]
    return chapter_loss(
        averaged[images, y],
        each[images, :, y],
        seen.log_prob,
        R,
        R_each,
        float(model.baseline),
        lambdas,
    )


def test_chapter_and_model_have_one_loss_and_one_gradient(model, chapter_loss):
    batch = {"image": torch.rand(4, 1, 132, 132), "label": torch.tensor([0, 1, 2, 0])}
    gradients = []
    for loss in (model.loss(batch).total, by_the_chapter(model, batch, chapter_loss)):
        model.zero_grad()
        loss.backward()
        gradients.append(
            [float(loss.detach()), *(w.grad.clone() for w in model.parameters())]
        )
    assert gradients[0][0] == pytest.approx(gradients[1][0], abs=1e-5)
    for ours, theirs in zip(gradients[0][1:], gradients[1][1:], strict=True):
        assert torch.allclose(ours, theirs, atol=1e-5)
    names = [name for name, _ in model.named_parameters() if "locate" in name]
    assert any(model.get_parameter(name).grad.any() for name in names)


def test_model_s_ordered_probability_is_equation_9(model):
    """Two top cells of each image: p_1 p_2 / (1 - p_1), or p_1 p_2 in practice."""
    seen = model.traverse(torch.rand(4, 1, 132, 132))
    one, two = seen.levels[0].log_p[:, 0].exp().topk(2).values.T  # (B,) each
    left = 1 - one if model.config.log_prob == "ordered" else 1
    found = seen.log_prob.sum(dim=1).exp()
    assert torch.allclose(found, one * two / left, rtol=1e-4)

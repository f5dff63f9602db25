"""Networks that read the whole canvas: their sizes, and what they refuse."""

import pytest
import torch

from saccade_lib import cost, records
from saccade_lib.models.plain import Config, Plain
from saccade_lib.runs import recurrent_attention
from saccade_lib.runs.experiment import train
from saccade_lib.train import Schedule


def test_they_are_as_large_as_their_layers_say():
    dense = Plain(Config(10, 60, hidden=64))
    assert cost.parameters(dense) == (3600 + 1) * 64 + (64 + 1) * 64 + (64 + 1) * 10
    conv = Plain(Config(10, 60, first="conv"))
    # 8 filters of 10 x 10 at a stride of 5 fit 11 times into 60 pixels
    filters, hidden = 8 * (100 + 1), (8 * 11 * 11 + 1) * 256
    assert cost.parameters(conv) == filters + hidden + (256 + 1) * 10


def test_a_filter_reads_its_ten_pixels_and_steps_by_five():
    net = Plain(Config(10, 20, first="conv"))
    x = torch.rand(1, 1, 20, 20)
    found = net.layers[0](x)  # (1, 8, 3, 3)
    conv = net.layers[0]
    for row, column in ((0, 0), (1, 2)):
        patch = x[0, 0, 5 * row : 5 * row + 10, 5 * column : 5 * column + 10]
        plain = (conv.weight[:, 0] * patch).sum(dim=(1, 2)) + conv.bias
        assert torch.allclose(found[0, :, row, column], plain, atol=1e-6)


def test_every_printed_line_of_a_whole_canvas_has_a_row():
    lines = {
        cell.record_row
        for cell in records.published("recurrent-attention")
        if cell.row.startswith(("fc", "conv"))
    }
    assert lines == set(recurrent_attention.wholes())


def test_a_row_is_trained_and_its_error_is_what_is_not_right():
    run = recurrent_attention.wholes()["conv-60-cluttered"]["quick"]
    short = Schedule(steps=2, batch=8, validate_every=2)
    outcome = train(
        type(run)(**vars(run) | {"schedule": short, "validation": 20, "test": 20}),
        0,
        progress=False,
    )
    found = {name: each["value"] for name, each in outcome.metrics.items()}
    assert found["test_error"] == pytest.approx(100 - found["test_accuracy"])


@pytest.mark.parametrize(
    "make, said",
    [
        (lambda: Config(10, 60, first="lstm"), "dense"),
        (lambda: Config(10, 8, first="conv"), "do not fit images of 8"),
        (
            lambda: Plain(Config(10, 28)).predict(torch.zeros(1, 1, 28, 30)),
            "reads images of 28 x 28",
        ),
    ],
)
def test_what_does_not_fit_is_refused(make, said):
    with pytest.raises(ValueError, match=said):
        make()

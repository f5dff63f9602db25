"""Deformable convolution in plain torch (Dai et al., 2017).

A convolution whose k x k taps may each read elsewhere: at output pixel p tap t reads
the input, bilinearly, at ``p + t + offset``. Another convolution gives the offsets.
torchvision has it as compiled code, which does not load beside every torch
(`_compat`); this one is a `grid_sample` and a matrix product, and gives the same values
and gradients.

Letters: B images, C channels, H x W pixels, k x k taps, K of them.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def deform_conv2d(
    x: Tensor,
    offset: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int = 1,
    padding: int = 0,
    dilation: int = 1,
) -> Tensor:
    """As torchvision's, with one group and no mask.

    Args:
        x: ``(B, C, H, W)``; zero outside.
        offset: ``(B, 2 K, H', W')`` in pixels of x: (y, x) of each tap, row by row.
        weight: ``(C', C, k, k)``.
        bias: ``(C',)`` or None.

    Returns:
        ``(B, C', H', W')``.

    Raises:
        ValueError: offsets that do not fit x and the kernel.
    """
    out, _, k, _ = weight.shape
    at = _taps(x.shape[-2:], offset, k, stride, padding, dilation)  # (B, K, H', W', 2)
    B, K, H, W, _ = at.shape
    tall = F.grid_sample(x, at.flatten(1, 2).to(x.dtype), align_corners=False)
    read = tall.unflatten(2, (K, H)).flatten(1, 2).flatten(2)  # (B, C K, H' W')
    y = (weight.flatten(1) @ read).view(B, out, H, W)
    return y if bias is None else y + bias.view(-1, 1, 1)


def _taps(shape, offset: Tensor, k, stride, padding, dilation) -> Tensor:
    """Where the taps read, ``(B, K, H', W', 2)`` in [-1, 1], pixel borders at +-1."""
    H, W = (
        (n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n in shape
    )  # of the output
    if offset.dim() != 4 or offset.shape[1:] != (2 * k * k, H, W):
        raise ValueError(
            f"offsets must be (B, {2 * k * k}, {H}, {W}) for this input and kernel, "
            f"got {tuple(offset.shape)}"
        )
    step = torch.arange(k, device=offset.device) * dilation - padding
    row = torch.arange(H, device=offset.device)[:, None] * stride
    column = torch.arange(W, device=offset.device) * stride
    offset = offset.unflatten(1, (k * k, 2))  # (B, K, 2, H', W')
    y = offset[:, :, 0] + step.repeat_interleave(k)[:, None, None] + row
    x = offset[:, :, 1] + step.repeat(k)[:, None, None] + column
    return torch.stack(((2 * x + 1) / shape[1] - 1, (2 * y + 1) / shape[0] - 1), dim=-1)


class DeformConv2d(nn.Module):
    """A convolution of odd kernel k and its offsets, which start at zero.

    At a stride of 1 the output has the input's size.
    """

    def __init__(self, inputs: int, outputs: int, k: int = 3, stride: int = 1):
        super().__init__()
        if k % 2 == 0:
            raise ValueError(f"the kernel must have an odd side, got {k}")
        self.conv = nn.Conv2d(inputs, outputs, k, stride, k // 2, bias=False)
        self.offset = nn.Conv2d(inputs, 2 * k * k, k, stride, k // 2)
        nn.init.zeros_(self.offset.weight)
        nn.init.zeros_(self.offset.bias)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, H, W)`` to ``(B, outputs, H', W')``."""
        stride, padding = self.conv.stride[0], self.conv.padding[0]
        return deform_conv2d(x, self.offset(x), self.conv.weight, None, stride, padding)

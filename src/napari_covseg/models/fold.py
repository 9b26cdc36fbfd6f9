"""Fold batch normalisation into the convolution before it: fewer passes over memory."""

from __future__ import annotations

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

_KINDS = ((nn.Conv2d, nn.BatchNorm2d), (nn.Conv3d, nn.BatchNorm3d))


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Fold, in place, every convolution that a batch normalisation follows in a `Sequential`.

    The network must be in evaluation mode; its output stays the same up to rounding.
    """
    for module in network.modules():
        if not isinstance(module, nn.Sequential):
            continue
        for index in range(len(module) - 1):
            convolution, norm = module[index], module[index + 1]
            for kind, its_norm in _KINDS:
                if isinstance(convolution, kind) and isinstance(norm, its_norm):
                    module[index] = fuse_conv_bn_eval(convolution, norm)
                    module[index + 1] = nn.Identity()
    return network

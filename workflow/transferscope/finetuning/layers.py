"""Which layers of a network a mode trains, and at which rates.

Layers are those of timm's own grouping: the input, then every block, the last norm with the block
before it.
"""

from __future__ import annotations

from typing import Any

from timm.models import group_parameters
from timm.optim._param_groups import param_groups_layer_decay
from torch import nn

from transferscope.config.modes import FULL, LORA, last_layers
from transferscope.finetuning.lora import add_low_rank_updates

Group = dict[str, Any]


def layers_of(network: Any) -> dict[str, int]:
    """Return the layer of each parameter, by its name: 0 is the input, then every block.

    Parameters
    ----------
    network
        A timm network, which groups its parameters itself.
    """
    layer_of: dict[str, int] = group_parameters(
        network, network.group_matcher(coarse=False), reverse=True
    )
    last = max(layer_of.values())
    shapes = {name: parameter.ndim for name, parameter in network.named_parameters()}
    # A norm that timm leaves out of the blocks belongs to the last one.
    if last > 0 and all(shapes[name] <= 1 for name, layer in layer_of.items() if layer == last):
        return {name: min(layer, last - 1) for name, layer in layer_of.items()}
    return layer_of


def groups_its_parameters(network: Any) -> bool:
    """Tell whether a network knows its layers, as all of timm's do."""
    return hasattr(network, "group_matcher")


def prepare(network: Any, mode: str, *, rank: int, alpha: float, seed: int) -> None:
    """Let only those parameters be trained that a mode trains, in place.

    Parameters
    ----------
    network
        A network that `checks.check_tuning` has passed.
    mode
        `full`, `last-<n>`, `lora` or `head`.
    rank, alpha, seed
        Of the low-rank updates.
    """
    network.requires_grad_(mode == FULL)
    if mode == LORA:
        add_low_rank_updates(network, rank, alpha, seed)
    n_layers = last_layers(mode)
    if n_layers is None:
        return
    layer_of = layers_of(network)
    first = max(layer_of.values()) - n_layers + 1
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(layer_of[name] >= first)


def parameter_groups(
    network: Any, head: nn.Module, layer_decay: float, backbone_rate: float
) -> list[Group]:
    """Return the optimiser's groups: what is trained, each with its share of rate and decay.

    Parameters
    ----------
    network
        A prepared network. A layer's rate is `layer_decay` to the power of its distance from the
        last layer (Clark et al., ICLR 2020, arXiv 2003.10555, for fine-tuning).
    head
        The classifier, which learns at the full rate.
    layer_decay
        0 to 1; 1 is the same rate everywhere.
    backbone_rate
        Rate of the last layer, in relation to the classifier's.

    Returns
    -------
    list of dict
        `params`, `lr_scale`, and `wd_scale`: 0 for norms, biases and what the network itself
        exempts, else 1.
    """
    excepted: set[str] = getattr(network, "no_weight_decay", set)()
    found = param_groups_layer_decay(
        network, weight_decay=1.0, no_weight_decay_list=excepted, layer_decay=layer_decay
    )
    groups = [
        {
            "params": group["params"],
            "lr_scale": backbone_rate * group["lr_scale"],
            "wd_scale": group["weight_decay"],
        }
        for group in found
    ]
    for is_matrix in (True, False):
        weights = [p for p in head.parameters() if (p.ndim > 1) == is_matrix]
        groups.append({"params": weights, "lr_scale": 1.0, "wd_scale": float(is_matrix)})
    return groups

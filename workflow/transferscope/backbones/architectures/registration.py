"""What timm wants to know of a network that is registered with it."""

from __future__ import annotations

from typing import Any

from timm.models import generate_default_cfgs

# Arguments that timm hands to every network, for weights of its own.
OF_PRETRAINING = ("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "cache_dir")


def untrained(name: str, channels: int, size: int) -> Any:
    """Return timm's description of a network without weights of timm's.

    Parameters
    ----------
    name
        Name of the architecture.
    channels, size
        Input channels and side in px of the published weights.
    """
    # A fixed size: the position embeddings belong to it, and are resampled when they are loaded.
    return generate_default_cfgs(
        {name: {"input_size": (channels, size, size), "fixed_input_size": True}}
    )


def own_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments without those of pretraining."""
    return {key: value for key, value in arguments.items() if key not in OF_PRETRAINING}

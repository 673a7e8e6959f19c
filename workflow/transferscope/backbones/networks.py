"""Networks from backbone cards: building them, checking the card, reading out representations."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import huggingface_hub.constants
import timm
import torch
from torch import Tensor, nn

import transferscope.backbones.architectures  # noqa: F401  registers them with timm
from transferscope.backbones.input_adaptation import (
    AdaptationError,
    adapt_input,
    input_convolutions,
)
from transferscope.backbones.patch_projection import PatchProjection, replace_patch_convolutions
from transferscope.backbones.transformers_network import (
    check_transformers,
    transformers_network,
    transformers_without_values,
)
from transferscope.cards import (
    ArchitectureCard,
    CheckpointCard,
    NetworkCard,
    Output,
    TimmCard,
    TransformersCard,
)
from transferscope.checkpoints.loading import check_checkpoint, load_checkpoint
from transferscope.checkpoints.sources import check_file, present_file
from transferscope.errors import Problem, UserError, suggest

# Arguments of timm's create_model that a card gives by keys of its own.
OWN_KEYS = {
    "in_chans": "slots",
    "img_size": "input_size",
    "num_classes": "outputs",
    "pretrained": "pretrained",
    "checkpoint_path": "weights",
}
# Name of timm's switch between fused attention and two plain products.
FUSED_ATTENTION = "fused_attn"


class Backbone(nn.Module):
    """A network and the representations that are read from it, all from one forward pass.

    Parameters
    ----------
    network
        A timm model without a classification layer, or one that is read out as timm's are:
        ``forward_features``, ``forward_intermediates``, ``forward_head``, ``num_prefix_tokens``.
        With ``leaves_out_empty_slots`` it is fed the filled slots alone, and told which they are.
    outputs
        What is read out. ``cls`` and ``mean`` come after the network's last layer norm, in inner
        layers too, as DINO does it.
    """

    def __init__(self, network: nn.Module, outputs: list[Output]) -> None:
        super().__init__()
        self.network: Any = network
        self.outputs = outputs
        self.dtype = torch.float32
        depth = number_of_layers(network)
        self.layer_of = {o.name: o.layer % depth for o in outputs if o.layer is not None}
        self.layers = sorted(set(self.layer_of.values()))

    def forward(self, images: Tensor, filled: Sequence[int] | None = None) -> list[Tensor]:
        """Return [B, D] float32 for each output.

        Parameters
        ----------
        images
            [B, slots, S, S] float32.
        filled
            Positions of the slots that are not empty, for networks that leave the others out;
            None: all are filled.
        """
        if self.dtype == torch.float32:
            return self._outputs(images, filled)
        with torch.autocast(images.device.type, self.dtype):
            return self._outputs(images, filled)

    def _outputs(self, images: Tensor, filled: Sequence[int] | None) -> list[Tensor]:
        chosen: dict[str, Any] = {}
        if filled is not None and getattr(self.network, "leaves_out_empty_slots", False):
            images, chosen = images[:, list(filled)], {"channels": filled}
        last, inner = self._features(images, chosen)
        found = [
            self._pooled(o, last)
            if o.layer is None
            else _pooled_layer(o, *inner[self.layer_of[o.name]])
            for o in self.outputs
        ]
        return [values.float() for values in found]

    def _features(
        self, images: Tensor, chosen: dict[str, Any]
    ) -> tuple[Tensor, dict[int, tuple[Tensor, Tensor | None]]]:
        """Return the last features, and of each inner layer its map [B, D, h, w] and prefix."""
        if not self.layers:
            return self.network.forward_features(images, **chosen), {}
        tokens = _has_tokens(self.network)
        last, maps = self.network.forward_intermediates(
            images,
            indices=self.layers,
            norm=tokens,
            **({"return_prefix_tokens": True} if tokens else {}),
            **chosen,
        )
        # Beside a layer's map its prefix tokens, where it has any.
        pairs = [found if isinstance(found, tuple) else (found, None) for found in maps]
        return last, dict(zip(self.layers, pairs, strict=True))

    def _pooled(self, output: Output, last: Tensor) -> Tensor:
        if output.pooling == "pool":
            pooled: Tensor = self.network.forward_head(last, pre_logits=True)
            return pooled
        if last.ndim == 4:
            return last.mean(dim=_spatial_axes(self.network))
        prefix = int(getattr(self.network, "num_prefix_tokens", 0))
        return _joined(output, last[:, :1, :], last[:, prefix:].mean(dim=1))


def _pooled_layer(output: Output, features: Tensor, prefix: Tensor | None) -> Tensor:
    mean = features.mean(dim=(2, 3))
    return mean if prefix is None else _joined(output, prefix, mean)


def _joined(output: Output, prefix: Tensor, mean: Tensor) -> Tensor:
    if output.pooling == "cls":
        return prefix[:, 0]
    return torch.cat([prefix[:, 0], mean], dim=1) if output.pooling == "cls+mean" else mean


def _has_tokens(network: Any) -> bool:
    return hasattr(network, "num_prefix_tokens")


def _has_class_token(network: Any) -> bool:
    return getattr(network, "cls_token", None) is not None


def _spatial_axes(network: Any) -> tuple[int, int]:
    return (1, 2) if str(getattr(network, "output_fmt", "NCHW")).endswith("NHWC") else (2, 3)


def number_of_layers(network: Any) -> int:
    """Return how many layers `Output.layer` can choose from."""
    blocks = getattr(network, "blocks", None)
    if _has_tokens(network) and blocks is not None:
        return len(blocks)
    return len(getattr(network, "feature_info", None) or [])


def known_architectures() -> list[str]:
    """Return every timm model name, plain and with the tag of its weights."""
    return [*timm.list_models(), *timm.list_pretrained()]


def build_backbone(card: NetworkCard, card_path: Path, n_channels: int | None = None) -> Backbone:
    """Build the network of a card with its weights, in fp32, on the processor, for inference.

    Parameters
    ----------
    card, card_path
        The card, and its file, to which the path of its weights is relative.
    n_channels
        Adapt the input weights to so many channels; None: leave them as they are.

    Raises
    ------
    UserError
        Where the weights cannot be had, do not fit the architecture, or cannot be adapted.
    """
    network: nn.Module
    if isinstance(card, TransformersCard):
        network = transformers_network(card, card_path)
    elif isinstance(card, CheckpointCard):
        with _seeded(0):
            network = _created(card)
        load_checkpoint(network, card, card_path)
    elif card.pretrained:
        network = _from_hub(card, card_path)
    else:
        with _seeded(card.seed):
            network = _created(card)
    if n_channels is not None:
        try:
            adapt_input(network, len(card.slots), n_channels)
        except AdaptationError as error:
            raise UserError(_not_adaptable(card_path, error)) from None
    replace_patch_convolutions(network)
    return Backbone(network, card.outputs).eval().requires_grad_(False)


def check_adaptation(card: NetworkCard, card_path: Path) -> list[Problem]:
    """Return why the input weights of a card cannot be adapted to other channels, if so."""
    if isinstance(card, TransformersCard):
        return []  # Only its weights tell.
    try:
        input_convolutions(network_without_values(card), len(card.slots))
    except AdaptationError as error:
        return [_not_adaptable(card_path, error)]
    return []


def _not_adaptable(card_path: Path, error: AdaptationError) -> Problem:
    what = f"this backbone cannot serve the channel strategy adapt: {error}"
    return Problem(str(card_path), what, "Take adapt or this backbone out of the study.")


def input_multiple(card: NetworkCard) -> int:
    """Return the patch size in px, of which the input size is a multiple; 1 without patches."""
    if isinstance(card, TransformersCard):
        return 1  # `scale: physical`, which asks, is not for these.
    return _patch_size(network_without_values(card)) or 1


def in_precision(backbone: Backbone, dtype: torch.dtype) -> Backbone:
    """Return a copy of a backbone that multiplies in another number format.

    Products of matrices and convolutions run in `dtype`, under autocast; sums along the residual
    stream and normalisations stay in fp32. That is as fast as rounding everything (products take
    nearly all of the time), and keeps the small differences between images several times better.
    """
    reduced = copy.deepcopy(backbone)
    reduced.dtype = dtype
    on_processor = next(backbone.parameters()).device.type == "cpu"
    for module in reduced.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | PatchProjection):
            module.to(dtype)  # once, in place of once a batch by autocast
        if on_processor and hasattr(module, FUSED_ATTENTION):
            # Two plain products are faster on a processor that multiplies this format.
            setattr(module, FUSED_ATTENTION, False)
    return reduced


def output_widths(backbone: Backbone, n_inputs: int, input_size: int) -> dict[str, int]:
    """Return output name -> number of features, by one pass over a blank image."""
    parameter = next(backbone.parameters())
    with torch.inference_mode():
        blank = torch.zeros(1, n_inputs, input_size, input_size, device=parameter.device)
        found = backbone(blank)
    return {o.name: v.shape[1] for o, v in zip(backbone.outputs, found, strict=True)}


def check_backbone(card: NetworkCard, card_path: Path) -> list[Problem]:
    """Return everything that is wrong with a card and can be known without its weights.

    Parameters
    ----------
    card, card_path
        The card and its file.

    Returns
    -------
    list of Problem
        Unknown architectures and arguments, impossible slots, sizes and outputs, weights that are
        not where they should be. The network is built without values, so that this takes no
        memory.
    """
    if isinstance(card, TransformersCard):
        return check_transformers(card, card_path) or _check_transformers_outputs(card, card_path)
    if problem := _check_architecture(card, card_path):
        return [problem]
    problems = _check_own_keys(card, card_path)
    problems += _check_weights(card, card_path)
    if problems:
        return problems
    try:
        network = network_without_values(card)
    except Exception as error:  # timm raises whatever its many model classes raise
        what = f"{card.architecture} cannot be built: {_first_line(error)}"
        mend = "Mend `arguments`, `input_size` or `slots` of the card."
        return [Problem(f"{card_path}, key arguments", what, mend)]
    problems = _check_input_size(card, card_path, network)
    problems += [p for o in card.outputs for p in _check_output(o, network, card_path)]
    if isinstance(card, CheckpointCard) and (file := present_file(card, card_path)):
        problems += check_checkpoint(network, card, file)
    return problems or _check_forward(card, card_path, network)


def _check_transformers_outputs(card: TransformersCard, card_path: Path) -> list[Problem]:
    if present_file(card, card_path) is None:
        return []
    try:
        network = transformers_without_values(card, card_path)
    except Exception as error:  # the library raises whatever its many models raise
        what = f"{card.model} cannot be built: {_first_line(error)}"
        return [Problem(f"{card_path}, key model", what, "Mend `input_size` or `slots`.")]
    return [p for output in card.outputs for p in _check_output(output, network, card_path)]


def _check_architecture(card: ArchitectureCard, card_path: Path) -> Problem | None:
    where = f"{card_path}, key architecture"
    base, _, tag = card.architecture.partition(".")
    if not timm.is_model(base) or ":" in base:
        what = f'timm {timm.__version__} knows no architecture "{card.architecture}"'
        return Problem(where, what, suggest(card.architecture, known_architectures()))
    tagged = timm.list_pretrained(f"{base}.*")
    if tag and card.architecture not in tagged:
        what = f'timm {timm.__version__} knows no weights "{tag}" of {base}'
        return Problem(where, what, suggest(card.architecture, tagged))
    if isinstance(card, TimmCard) and card.pretrained and not tagged:
        what = f"timm has no pretrained weights for {base}"
        return Problem(
            where, what, "Set `pretrained: false`, or use `source: file`, `url` or `hub`."
        )
    return None


def _check_own_keys(card: ArchitectureCard, card_path: Path) -> list[Problem]:
    return [
        Problem(
            f"{card_path}, key arguments.{argument}",
            "is given by a key of the card itself",
            f"Leave it out and use `{OWN_KEYS[argument]}`.",
        )
        for argument in card.arguments
        if argument in OWN_KEYS
    ]


def _check_weights(card: ArchitectureCard, card_path: Path) -> list[Problem]:
    if isinstance(card, CheckpointCard):
        return check_file(card, card_path, present_file(card, card_path))
    if not card.pretrained:
        return []
    config: Any = timm.get_pretrained_cfg(card.architecture)
    channels = config.input_size[0]
    if len(card.slots) != channels:
        what = f"the weights have {channels} input channels, the card has {len(card.slots)} slots"
        return [Problem(f"{card_path}, key slots", what, f"Name {channels} slots.")]
    offline = huggingface_hub.constants.HF_HUB_OFFLINE
    return [_not_fetched(card, card_path)] if offline and not hub_weights_here(card) else []


def hub_weights_here(card: TimmCard) -> bool:
    """Tell whether the hub weights of a timm card are in the cache, without asking the network."""
    config: Any = timm.get_pretrained_cfg(card.architecture)
    if not config.hf_hub_id:
        return True
    names = ("model.safetensors", "pytorch_model.bin", config.hf_hub_filename)
    return any(
        isinstance(huggingface_hub.try_to_load_from_cache(config.hf_hub_id, name), str)
        for name in names
        if name
    )


def _check_input_size(card: ArchitectureCard, card_path: Path, network: Any) -> list[Problem]:
    p = _patch_size(network)
    if p is None or card.input_size % p == 0:
        return []
    nearest = max(p, round(card.input_size / p) * p)
    what = f"{card.input_size} px is not a multiple of the patch size, {p} px"
    return [Problem(f"{card_path}, key input_size", what, f"Use {nearest}, for example.")]


def _patch_size(network: Any) -> int | None:
    patch = getattr(getattr(network, "patch_embed", None), "patch_size", None)
    return None if patch is None else max(patch)


def _check_output(output: Output, network: Any, card_path: Path) -> list[Problem]:
    where = f"{card_path}, output {output.name}"
    problems = []
    if output.pooling in ("cls", "cls+mean") and not _has_class_token(network):
        mend = "Use `pooling: mean` or `pooling: pool`."
        problems.append(Problem(where, "the architecture has no class token", mend))
    if output.layer is None:
        return problems
    depth = number_of_layers(network)
    if not hasattr(network, "forward_intermediates") or depth == 0:
        mend = "Leave `layer` out, for the last."
        return [*problems, Problem(where, "timm cannot read inner layers of this network", mend)]
    if not -depth <= output.layer < depth:
        mend = f"Use 0 to {depth - 1}, or -{depth} to -1."
        problems.append(Problem(where, f"there is no layer {output.layer}", mend))
    if output.pooling == "pool" and _has_tokens(network):
        mend = "Use `pooling: mean`, or leave `layer` out."
        problems.append(Problem(where, "a transformer pools its last layer only", mend))
    return problems


def _check_forward(card: ArchitectureCard, card_path: Path, network: nn.Module) -> list[Problem]:
    backbone = Backbone(network, card.outputs).eval()
    try:
        output_widths(backbone, len(card.slots), card.input_size)
    except NotImplementedError:
        return []  # An operator without shapes-only arithmetic: only the real run can tell.
    except Exception as error:  # timm raises whatever its many model classes raise
        what = f"{card.architecture} fails on an image of {card.input_size} px: "
        mend = "Mend `input_size`, `arguments` or `outputs` of the card."
        return [Problem(str(card_path), what + _first_line(error), mend)]
    return []


def network_without_values(card: ArchitectureCard) -> nn.Module:
    """Return the network of a card on the meta device: shapes alone, no memory, no weights.

    Architectures that compute while they are built come with random weights instead.
    """
    try:
        with torch.device("meta"):
            return _created(card)
    except Exception:  # Some architectures compute while they are built.
        with _seeded(0):
            return _created(card)


def _created(card: ArchitectureCard, *, pretrained: bool = False) -> nn.Module:
    arguments = {**card.arguments}
    base = timm.get_pretrained_cfg(card.architecture, allow_unregistered=True)
    # timm marks the architectures that are built for one image size, and take it as an argument.
    if base is not None and base.fixed_input_size:
        arguments["img_size"] = card.input_size
    network: nn.Module = timm.create_model(
        card.architecture,
        pretrained=pretrained,
        in_chans=len(card.slots),
        num_classes=0,
        **arguments,
    )
    return network


def _from_hub(card: TimmCard, card_path: Path) -> nn.Module:
    try:
        return _created(card, pretrained=True)
    except Exception as error:  # hub, network and file errors have no common base
        problem = _not_fetched(card, card_path, _first_line(error))
        raise UserError(problem) from None


def _not_fetched(card: TimmCard, card_path: Path, reason: str = "") -> Problem:
    config: Any = timm.get_pretrained_cfg(card.architecture)
    cache = huggingface_hub.constants.HF_HUB_CACHE
    what = f"the weights {config.hf_hub_id or config.url} could not be fetched"
    mend = (
        f"Check the network, or fetch them on another machine (`hf download {config.hf_hub_id}`) "
        f"and copy them to the cache, {cache} (set HF_HOME for another place)."
    )
    return Problem(f"{card_path}, key architecture", f"{what}: {reason}" if reason else what, mend)


@contextmanager
def _seeded(seed: int) -> Iterator[None]:
    """Seed torch's generator of the processor, and restore it afterwards."""
    state = torch.default_generator.get_state()
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        torch.default_generator.set_state(state)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]

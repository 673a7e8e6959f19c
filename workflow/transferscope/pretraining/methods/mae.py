"""Masked autoencoders of vision transformers, for fixed slots and for any channels.

He et al., CVPR 2022, arXiv 2111.06377: the encoder sees a few patches, and a light decoder predicts
the others. Kraus et al., CVPR 2024, arXiv 2404.10242: patches of each channel are tokens of their
own, all with the same position code a channel.
"""

from __future__ import annotations

import torch
from lightly.models.utils import patchify
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.layers.weight_init import trunc_normal_
from timm.models.vision_transformer import Block, init_weights_vit_timm
from torch import Tensor, nn

from transferscope.cards import TrainCard
from transferscope.cards.methods import ChannelAgnosticMaeSettings, MaeSettings
from transferscope.cards.network import CHANNEL_AGNOSTIC
from transferscope.pretraining.methods.base import Losses, Parts
from transferscope.pretraining.methods.masking import Mask, masked_losses, random_mask
from transferscope.pretraining.methods.networks import is_plain_vit
from transferscope.pretraining.methods.single_crop import SingleCropMethod

# Deviation of fresh mask tokens, as timm and He et al. have it for such.
TOKEN_DEVIATION = 0.02


class Decoder(nn.Module):
    """A light transformer from visible tokens to the pixels of all patches.

    Parameters
    ----------
    width
        Features of the encoder's tokens.
    grid
        Rows and columns of patches.
    values
        Values of a patch, V.
    settings
        Width, depth and heads.
    """

    positions: Tensor

    def __init__(
        self,
        width: int,
        grid: tuple[int, int],
        values: int,
        settings: MaeSettings | ChannelAgnosticMaeSettings,
    ) -> None:
        super().__init__()
        inner = settings.decoder_width
        self.embed = nn.Linear(width, inner)
        self.mask_token = nn.Parameter(torch.zeros(1, 1, inner))
        # Fixed, as published: sines and cosines of row and column.
        positions = build_sincos2d_pos_embed(list(grid), inner)
        self.register_buffer("positions", positions, persistent=False)
        self.blocks = nn.Sequential(
            *(
                Block(inner, settings.decoder_heads, qkv_bias=True)
                for _ in range(settings.decoder_depth)
            )
        )
        self.norm = nn.LayerNorm(inner)
        self.predict = nn.Linear(inner, values)
        self.apply(init_weights_vit_timm)
        trunc_normal_(self.mask_token, std=TOKEN_DEVIATION)

    def forward(self, visible: Tensor, mask: Mask) -> Tensor:
        """Return predicted values [B, N, V].

        Parameters
        ----------
        visible
            Tokens of the visible patches, [B, K, width].
        mask
            Which of the N patches they are. N is one grid, or a grid for each channel, one after
            the other: each channel is then decoded by itself, as nothing else tells the hidden
            patches of one channel from those of another.
        """
        known = self.embed(visible)
        batch, n_patches = mask.hidden.shape
        tokens = self.mask_token.to(known.dtype).expand(batch, n_patches, -1)
        kept = mask.kept.unsqueeze(-1).expand(-1, -1, known.shape[-1])
        tokens = tokens.scatter(1, kept, known)
        tokens = tokens.reshape(-1, len(self.positions), tokens.shape[-1]) + self.positions
        predicted: Tensor = self.predict(self.norm(self.blocks(tokens)))
        return predicted.reshape(batch, n_patches, -1)


class MaskedAutoencoder(SingleCropMethod):
    """A vision transformer of timm's, and a decoder."""

    needs = "a plain vision transformer, such as vit_small_patch16_224"
    # Whether patches of each channel are tokens of their own.
    splits_channels = False

    def __init__(self, settings: MaeSettings | ChannelAgnosticMaeSettings, parts: Parts) -> None:
        super().__init__(settings, parts)
        patches = self._encoder.patch_embed
        self.patch_size = int(patches.patch_size[0])
        seen = 1 if self.splits_channels else int(patches.proj.weight.shape[1])
        values = seen * self.patch_size**2
        self.decoder = Decoder(self._encoder.embed_dim, patches.grid_size, values, settings)

    @classmethod
    def fits(cls, card: TrainCard, network: nn.Module) -> bool:
        """Return whether the network is a plain vision transformer."""
        return is_plain_vit(network)

    def loss(self, views: Tensor, progress: float, generator: torch.Generator) -> Losses:
        """Return how badly the hidden patches are predicted."""
        target = self.targets(views)
        batch, n_patches, _ = target.shape
        mask = random_mask(
            batch, n_patches, self.settings.mask_ratio, generator, device=views.device
        )
        predicted = self.decoder(self.encode(views, mask), mask)
        return masked_losses(
            predicted,
            target,
            mask.hidden,
            self.patch_size,
            normalize_targets=self.settings.normalize_targets,
            fourier_weight=self.settings.fourier_weight,
        )

    def encode(self, images: Tensor, mask: Mask) -> Tensor:
        """Return tokens [B, K, D] of the visible patches: the encoder computes no others."""
        network = self._encoder
        tokens = (
            network.tokens(images)
            if self.splits_channels
            else network._pos_embed(network.patch_embed(images))
        )
        prefix = int(network.num_prefix_tokens)
        kept = mask.kept.unsqueeze(-1).expand(-1, -1, tokens.shape[-1])
        visible = tokens[:, prefix:].gather(1, kept)
        tokens = network.norm_pre(torch.cat([tokens[:, :prefix], visible], dim=1))
        encoded: Tensor = network.norm(network.blocks(tokens))
        return encoded[:, prefix:]

    def targets(self, images: Tensor) -> Tensor:
        """Return the pixels of each patch [B, N, V]; N counts the patches of each channel."""
        if not self.splits_channels:
            patches: Tensor = patchify(images, self.patch_size)
            return patches
        batch, channels = images.shape[:2]
        each: Tensor = patchify(images.flatten(0, 1).unsqueeze(1), self.patch_size)
        return each.reshape(batch, channels * each.shape[1], each.shape[2])


class ChannelAgnosticAutoencoder(MaskedAutoencoder):
    """The same for a transformer whose channels are tokens of their own."""

    needs = " or ".join(CHANNEL_AGNOSTIC)
    splits_channels = True

    @classmethod
    def fits(cls, card: TrainCard, network: nn.Module) -> bool:
        """Return whether the network takes any channels."""
        return card.takes_any_channels

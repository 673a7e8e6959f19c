"""Transformers that see each channel's patches as tokens of their own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.patch_embed import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


class ChannelPatchEmbed(PatchEmbed):
    """One patch projection for every channel.

    Parameters
    ----------
    in_chans
        Channels that have an embedding of their own, which is added to their tokens.
    has_embedding
        False: channels are all alike.
    embed_dim, **arguments
        As timm has it.
    """

    def __init__(
        self, *, in_chans: int, embed_dim: int, has_embedding: bool, **arguments: Any
    ) -> None:
        super().__init__(in_chans=1, embed_dim=embed_dim, **arguments)
        self.channel_embed = (
            nn.Parameter(torch.zeros(in_chans, embed_dim)) if has_embedding else None
        )

    def tokens(self, images: Tensor, channels: Sequence[int] | None) -> Tensor:
        """Return tokens [B, C, P, D] of images [B, C, H, W].

        Parameters
        ----------
        images
            Channels in any number.
        channels
            Which of the known channels each one is; None: the first, the second and so on.
        """
        batch, count, height, width = images.shape
        patches: Tensor = self(images.reshape(batch * count, 1, height, width))
        patches = patches.reshape(batch, count, *patches.shape[1:])
        if self.channel_embed is None:
            return patches
        known = range(count) if channels is None else channels
        # One by one: a list as an index would be copied to the device each time.
        named = torch.stack([self.channel_embed[one] for one in known])
        return patches + named[None, :, None]


class ChannelTokenVit(VisionTransformer):
    """A vision transformer over the patches of all channels together.

    The tokens are those of the first channel, the second and so on, after the class token; each
    channel has the same position embeddings.
    """

    patch_embed: ChannelPatchEmbed
    cls_token: nn.Parameter
    pos_embed: nn.Parameter

    # timm's attention masks are not taken, as nothing here has a use for them.
    def forward_features(  # type: ignore[override]
        self, images: Tensor, channels: Sequence[int] | None = None
    ) -> Tensor:
        """Return normalised tokens [B, 1 + C P, D] of images [B, C, H, W]."""
        tokens: Tensor = self.norm(self.blocks(self.tokens(images, channels)))
        return tokens

    def forward_intermediates(  # type: ignore[override]
        self,
        images: Tensor,
        indices: Sequence[int],
        norm: bool = False,
        return_prefix_tokens: bool = True,
        channels: Sequence[int] | None = None,
    ) -> tuple[Tensor, list[Any]]:
        """Return the last tokens, and a map [B, D, C P, 1] of each block asked for.

        Parameters
        ----------
        images
            [B, C, H, W].
        indices
            Blocks, rising.
        norm
            Whether the last layer norm is applied to the maps, too.
        return_prefix_tokens
            Whether each map comes with its class token [B, 1, D].
        channels
            As `ChannelPatchEmbed.tokens` has it.
        """
        tokens = self.tokens(images, channels)
        found: list[Any] = []
        for index, block in enumerate(self.blocks):
            tokens = block(tokens)
            if index in indices:
                inner = self.norm(tokens) if norm else tokens
                patches = inner[:, 1:].transpose(1, 2).unsqueeze(-1)
                found.append((patches, inner[:, :1]) if return_prefix_tokens else patches)
        return self.norm(tokens), found

    def tokens(self, images: Tensor, channels: Sequence[int] | None = None) -> Tensor:
        """Return what goes into the first block, [B, 1 + C P, D], of images [B, C, H, W]."""
        positions = self.positions(images.shape[1])
        patches = self.patch_embed.tokens(images, channels) + positions[:, None, 1:]
        first = (self.cls_token + positions[:, :1]).expand(len(images), -1, -1)
        return torch.cat([first, patches.flatten(1, 2)], dim=1)

    def positions(self, count: int) -> Tensor:
        """Return the position embeddings [1, 1 + P, D] for so many channels."""
        return self.pos_embed

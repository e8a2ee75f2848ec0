"""Squares of four pixels become channels: half the height and width, four times the channels."""

from __future__ import annotations

from jax import Array

from aigc_jax.probability.bijectors.bijector import Bijector, zeros

DIAGONALS = (0, 3, 1, 2)
"""The pixels of a square, 0 1 over 2 3, in the order of the ordered squeeze: one colour of the checkerboard, then the other."""


class Squeeze(Bijector):
    """x [B, H, W, C] -> [B, H / 2, W / 2, 4 C].

    ordered: False lays the four pixels of a channel side by side, c 4 + 2 row + column, as Glow and RealNVP do before
             couplings by channel; True puts the pixels above all channels, and one colour of the checkerboard before the
             other, k C + c: the halves of the channels are then the two checkerboards (arXiv:1605.08803, section 3.6), what
             RealNVP does before half of them leaves.

    Raises ValueError for an odd height or width.
    """

    ordered: bool = False

    def forward_and_log_det(self, x: Array, context: Array | None = None, train: bool = False) -> tuple[Array, Array]:
        height, width, channels = self.output_shape(x.shape[1:])
        squares = x.reshape(-1, height, 2, width, 2, channels // 4).transpose(0, 1, 3, 5, 2, 4)  # [B, h, w, C, 2, 2]
        if self.ordered:
            squares = squares.reshape(*squares.shape[:4], 4)[..., DIAGONALS].swapaxes(3, 4)  # [B, h, w, 4, C]
        return squares.reshape(-1, height, width, channels), zeros(x)

    def inverse_and_log_det(self, y: Array, context: Array | None = None) -> tuple[Array, Array]:
        _, height, width, channels = y.shape
        if channels % 4:
            raise ValueError(f"{channels} channels do not spread over squares of 4 pixels")
        if self.ordered:
            back = tuple(DIAGONALS.index(place) for place in range(4))
            y = y.reshape(-1, height, width, 4, channels // 4).swapaxes(3, 4)[..., back]
        squares = y.reshape(-1, height, width, channels // 4, 2, 2).transpose(0, 1, 4, 2, 5, 3)
        return squares.reshape(-1, 2 * height, 2 * width, channels // 4), zeros(y)

    def output_shape(self, shape: tuple[int, ...]) -> tuple[int, ...]:
        height, width, channels = shape
        if height % 2 or width % 2:
            raise ValueError(f"a squeeze halves height and width: {height} x {width} is not even")
        return height // 2, width // 2, 4 * channels

"""Makes published_cait.npz: folders of timm's CaiT, small and odd, with their answers.

Needs torch and timm: `python tests/golden/make_published_cait.py` writes, `--check` recomputes and compares;
`--folders DIR PATTERN` writes public sizes (published.py).
"""

from functools import partial
from pathlib import Path

import published
import reference
from published import answer, sized, timm

PATH = Path(__file__).with_name("published_cait.npz")
TINY = dict(img_size=[13, 21], patch_size=[4, 5], embed_dim=20, num_heads=5)
IMAGES = {"pixel_values": reference.images(3, 13, 21)}
SMALL = {
    "cait": (partial(timm, "cait_xxs24_224", **TINY, depth=2, in_chans=2, num_classes=7, mlp_ratio=2.5, qkv_bias=False,
                     depth_token_only=1, mlp_ratio_token_only=3.0), {"pixel_values": IMAGES["pixel_values"][:, :2]}),
    "mean": (partial(timm, "cait_xxs24_224", **TINY, depth=1, num_classes=0, global_pool="avg"), IMAGES),
}  # fmt: skip
PUBLIC = {f"timm_{name}": sized(int(name[-3:]), partial(timm, name)) for name in (
    "cait_m36_384", "cait_m48_448", "cait_s24_224", "cait_s24_384", "cait_s36_384", "cait_xs24_384", "cait_xxs24_224",
    "cait_xxs24_384", "cait_xxs36_224", "cait_xxs36_384")}  # fmt: skip

if __name__ == "__main__":
    published.main(PATH, SMALL, PUBLIC, answer)

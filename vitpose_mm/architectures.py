"""Sizes of plain vision transformers by name."""

# The paper's giant is ViTAE-G, whose dimensions and weights are not published; this one is
# ViT-g/14 of arXiv 2106.04560, of the same size (1.0 B parameters).
ARCHITECTURES = {
    'tiny': dict(embed_dim=192, depth=12, num_heads=3),
    'small': dict(embed_dim=384, depth=12, num_heads=12),
    'base': dict(embed_dim=768, depth=12, num_heads=12),
    'large': dict(embed_dim=1024, depth=24, num_heads=16),
    'huge': dict(embed_dim=1280, depth=32, num_heads=16),
    'giant': dict(embed_dim=1408, depth=40, num_heads=16, mlp_ratio=48 / 11),
}

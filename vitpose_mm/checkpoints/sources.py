"""Whose weights a file holds, and what they are called here.

The tables below are all that is known about names, in both directions. A source is recognised by
the names in a file, and each name is translated, dropped for a stated reason, or reported.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import NamedTuple, Optional, Union

# {n}: number of a block, {e}: of an expert or a head, {leaf}: weight or bias, {side}: of a map,
# {norm}: of a batch norm. [0], [1], [2]: the three parts, one below the other, of a tensor of ours.
PLACEHOLDERS = {
    'n': r'\d+',
    'e': r'\d+',
    'leaf': 'weight|bias',
    'side': 'h|w',
    'norm': 'weight|bias|running_mean|running_var|num_batches_tracked',
    'any': r'.+',
    'rest': r'.+',
    'dataset': r'[^.]+',
}
BACKBONE = {
    'pos_embed': 'pos_embed',
    'cls_token': 'cls_token',
    'patch_embed.proj.{leaf}': 'patch_embed.proj.{leaf}',
    'blocks.{n}.norm1.{leaf}': 'blocks.{n}.norm1.{leaf}',
    'blocks.{n}.attn.qkv.{leaf}': 'blocks.{n}.attn.qkv.{leaf}',
    'blocks.{n}.attn.proj.{leaf}': 'blocks.{n}.attn.proj.{leaf}',
    'blocks.{n}.norm2.{leaf}': 'blocks.{n}.norm2.{leaf}',
    'blocks.{n}.mlp.fc1.{leaf}': 'blocks.{n}.mlp.fc1.{leaf}',
    'blocks.{n}.mlp.fc2.{leaf}': 'blocks.{n}.mlp.fc2.{leaf}',
    'blocks.{n}.mlp.experts.{e}.{leaf}': 'blocks.{n}.mlp.experts.{e}.{leaf}',
    'last_norm.{leaf}': 'last_norm.{leaf}',
}
# of MAE and timm; MAE's code is made from timm's
ENCODER = {
    'pos_embed': 'pos_embed',
    'cls_token': 'cls_token',
    'patch_embed.proj.{leaf}': 'patch_embed.proj.{leaf}',
    'blocks.{n}.norm1.{leaf}': 'blocks.{n}.norm1.{leaf}',
    'blocks.{n}.attn.qkv.{leaf}': 'blocks.{n}.attn.qkv.{leaf}',
    'blocks.{n}.attn.proj.{leaf}': 'blocks.{n}.attn.proj.{leaf}',
    'blocks.{n}.norm2.{leaf}': 'blocks.{n}.norm2.{leaf}',
    'blocks.{n}.mlp.fc1.{leaf}': 'blocks.{n}.mlp.fc1.{leaf}',
    'blocks.{n}.mlp.fc2.{leaf}': 'blocks.{n}.mlp.fc2.{leaf}',
    'norm.{leaf}': 'last_norm.{leaf}',
}
HEAD = {
    'deconv_layers.{n}.{norm}': 'deconv_layers.{n}.{norm}',
    'final_layer.{leaf}': 'final_layer.{leaf}',
}
CLASSIFIER = 'classifies images'
MAE_DECODER = "part of MAE's decoder, which paints hidden patches"


class Place(NamedTuple):
    """Where a tensor belongs.

    ``head`` is a number in the file's order or a data set's name, None for the backbone; ``part``
    says which of three parts, one below the other, of a tensor of ours it is.
    """

    name: str
    head: Union[int, str, None] = None
    part: Optional[int] = None


@dataclass(frozen=True)
class Source:
    """How one implementation names the weights of a ViT and of pose heads.

    Args:
        name: What users call it.
        backbone: Its names, without ``backbone.``, to ours.
        head: Its names inside of a head to ours.
        first_head: What the names of its first, or only, head begin with.
        more_heads: The same of further heads, with ``{e}`` for their number, from 0.
        named_heads: The same of heads that are told apart by the names of data sets, ``{dataset}``.
        dropped: Names of what has no place in a pose model, to the reason.
    """

    name: str
    backbone: dict[str, str]
    head: dict[str, str] = field(default_factory=dict)
    first_head: Optional[str] = None
    more_heads: Optional[str] = None
    named_heads: Optional[str] = None
    dropped: dict[str, str] = field(default_factory=dict)

    def place(self, name: str) -> Optional[Place]:
        """Where a tensor of the backbone, without ``backbone.``, or of a head belongs here."""
        for pattern, ours, part in self._backbone_patterns:
            match = pattern.fullmatch(name)
            if match:
                return Place(ours.format(**match.groupdict()), part=part)
        for prefix_pattern in self._head_patterns:
            match = prefix_pattern.fullmatch(name)
            if match is None:
                continue
            groups = match.groupdict()
            head = groups.get('dataset', 1 + int(groups['e']) if 'e' in groups else 0)
            for pattern, ours, part in self._inner_head_patterns:
                inner = pattern.fullmatch(groups['rest'])
                if inner:
                    return Place(ours.format(**inner.groupdict()), head, part)
        return None

    def reason_to_drop(self, name: str) -> Optional[str]:
        """Why a tensor has no place here, None if that is not known of it."""
        for template, reason in self.dropped.items():
            if _pattern(template).fullmatch(name):
                return reason
        return None

    def backbone_name(self, ours: str) -> list[tuple[str, Optional[int]]]:
        """Its name of a tensor of our backbone, or names of parts and their numbers, or nothing."""
        return _reverse(self._backbone_patterns, self.backbone, ours)

    def head_name(self, ours: str) -> list[tuple[str, Optional[int]]]:
        """The same inside of a head."""
        return _reverse(self._inner_head_patterns, self.head, ours)

    @cached_property
    def _backbone_patterns(self) -> list[tuple[re.Pattern, str, Optional[int]]]:
        return _compile(self.backbone)

    @cached_property
    def _inner_head_patterns(self) -> list[tuple[re.Pattern, str, Optional[int]]]:
        return _compile(self.head)

    @cached_property
    def _head_patterns(self) -> list[re.Pattern]:
        prefixes = (self.named_heads, self.more_heads, self.first_head)
        return [_pattern(prefix + '{rest}') for prefix in prefixes if prefix]


SOURCES = {
    source.name: source
    for source in (
        Source(
            'vitpose_mm',
            {
                **BACKBONE,
                'blocks.{n}.attn.rel_pos_{side}': 'blocks.{n}.attn.rel_pos_{side}',
                'knowledge_tokens': 'knowledge_tokens',
                'knowledge_proj.{leaf}': 'knowledge_proj.{leaf}',
            },
            # heads of other projects may stand on this backbone
            {'{any}': '{any}'},
            first_head='head.',
            named_heads='head.heads.{dataset}.',
            dropped={'decoder.{any}': MAE_DECODER},
        ),
        Source(
            'official',
            BACKBONE,
            HEAD,
            first_head='keypoint_head.',
            more_heads='associate_keypoint_heads.{e}.',
        ),
        Source(
            'mmpose',
            {
                'pos_embed': 'pos_embed',
                'cls_token': 'cls_token',
                'patch_embed.projection.{leaf}': 'patch_embed.proj.{leaf}',
                'layers.{n}.ln1.{leaf}': 'blocks.{n}.norm1.{leaf}',
                'layers.{n}.attn.qkv.{leaf}': 'blocks.{n}.attn.qkv.{leaf}',
                'layers.{n}.attn.proj.{leaf}': 'blocks.{n}.attn.proj.{leaf}',
                'layers.{n}.ln2.{leaf}': 'blocks.{n}.norm2.{leaf}',
                'layers.{n}.ffn.layers.0.0.{leaf}': 'blocks.{n}.mlp.fc1.{leaf}',
                'layers.{n}.ffn.layers.1.{leaf}': 'blocks.{n}.mlp.fc2.{leaf}',
                'ln1.{leaf}': 'last_norm.{leaf}',
            },
            HEAD,
            first_head='head.',
        ),
        Source(
            'huggingface',
            {
                'embeddings.position_embeddings': 'pos_embed',
                'embeddings.patch_embeddings.projection.{leaf}': 'patch_embed.proj.{leaf}',
                'encoder.layer.{n}.layernorm_before.{leaf}': 'blocks.{n}.norm1.{leaf}',
                'encoder.layer.{n}.attention.attention.query.{leaf}': (
                    'blocks.{n}.attn.qkv.{leaf}[0]'
                ),
                'encoder.layer.{n}.attention.attention.key.{leaf}': 'blocks.{n}.attn.qkv.{leaf}[1]',
                'encoder.layer.{n}.attention.attention.value.{leaf}': (
                    'blocks.{n}.attn.qkv.{leaf}[2]'
                ),
                'encoder.layer.{n}.attention.output.dense.{leaf}': 'blocks.{n}.attn.proj.{leaf}',
                'encoder.layer.{n}.layernorm_after.{leaf}': 'blocks.{n}.norm2.{leaf}',
                'encoder.layer.{n}.mlp.fc1.{leaf}': 'blocks.{n}.mlp.fc1.{leaf}',
                'encoder.layer.{n}.mlp.fc2.{leaf}': 'blocks.{n}.mlp.fc2.{leaf}',
                'encoder.layer.{n}.mlp.experts.{e}.{leaf}': 'blocks.{n}.mlp.experts.{e}.{leaf}',
                'layernorm.{leaf}': 'last_norm.{leaf}',
            },
            {
                'deconv1.weight': 'deconv_layers.0.weight',
                'batchnorm1.{norm}': 'deconv_layers.1.{norm}',
                'deconv2.weight': 'deconv_layers.3.weight',
                'batchnorm2.{norm}': 'deconv_layers.4.{norm}',
                'conv.{leaf}': 'final_layer.{leaf}',
            },
            first_head='head.',
        ),
        Source(
            'timm',
            ENCODER,
            dropped={
                'head.{leaf}': CLASSIFIER,
                'dist_token': "DeiT's distillation token, with its position",
                'head_dist.{leaf}': CLASSIFIER,
            },
        ),
        Source(
            'mae',
            ENCODER,
            dropped={
                'mask_token': "stands for hidden patches in MAE's decoder",
                'decoder_{any}': MAE_DECODER,
            },
        ),
    )
}


def recognise(names: Iterable[str]) -> Optional[Source]:
    """The source that knows most of the names, None where none knows at least half of them.

    Args:
        names: Without ``backbone.``. Names of a backbone alone are the same in official files and
            in ours, which counts as ours.
    """
    names = list(names)
    known = {
        name: sum(
            source.place(key) is not None or source.reason_to_drop(key) is not None for key in names
        )
        for name, source in SOURCES.items()
    }
    best = max(known, key=known.get)
    has_backbone = any(
        place is not None and place.head is None for place in map(SOURCES[best].place, names)
    )
    return SOURCES[best] if has_backbone and 2 * known[best] >= len(names) else None


def _compile(table: dict[str, str]) -> list[tuple[re.Pattern, str, Optional[int]]]:
    compiled = []
    for theirs, ours in table.items():
        ours, part = re.fullmatch(r'(.+?)(?:\[(\d)])?', ours).groups()
        compiled.append((_pattern(theirs), ours, None if part is None else int(part)))
    return compiled


def _reverse(
    patterns: list[tuple[re.Pattern, str, Optional[int]]], table: dict[str, str], ours: str
) -> list[tuple[str, Optional[int]]]:
    names = []
    for theirs, (_, template, part) in zip(table, patterns):
        match = _pattern(template).fullmatch(ours)
        if match:
            names.append((theirs.format(**match.groupdict()), part))
    return names


@cache
def _pattern(template: str) -> re.Pattern:
    pieces = re.split(r'\{(\w+)}', template)
    pieces[::2] = map(re.escape, pieces[::2])
    pieces[1::2] = (f'(?P<{name}>{PLACEHOLDERS[name]})' for name in pieces[1::2])
    return re.compile(''.join(pieces))

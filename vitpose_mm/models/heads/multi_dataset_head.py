from mmpose.models.heads import BaseHead
from mmpose.registry import MODELS
from torch import Tensor, nn

from vitpose_mm.checkpoints import require_exact_match


@MODELS.register_module()
class MultiDatasetHead(BaseHead):
    """A head for each data set, on one backbone.

    So far it holds them: their weights are loaded and saved (``head.heads.<data set>.*``) and their
    heatmaps computed. Training and prediction with several heads at once are not implemented; a
    model of one data set is made by ``tools/convert_checkpoint.py --dataset NAME --merge-experts``.

    Args:
        heads: Configs of heads by data set, in order.

    Raises:
        ValueError: There are none, or a name is empty or has a dot.
    """

    def __init__(self, heads: dict[str, dict]) -> None:
        super().__init__()
        names = heads if isinstance(heads, dict) else {}
        if not names or any(not isinstance(n, str) or not n or '.' in n for n in names):
            raise ValueError(
                f'heads must be configs by names of data sets, without dots, got {heads!r}'
            )
        self.heads = nn.ModuleDict({name: MODELS.build(head) for name, head in heads.items()})
        self._register_load_state_dict_pre_hook(self._check_state_dict)

    def forward(self, feats: tuple[Tensor]) -> dict[str, Tensor]:
        """Features (B, C, h, w), the last of a tuple, to heatmaps (B, K, H, W) of each data set."""
        return {name: head(feats) for name, head in self.heads.items()}

    def loss(self, *_: object, **__: object) -> dict:
        """Raise, see the class."""
        raise NotImplementedError('training with several heads at once is not implemented')

    def predict(self, *_: object, **__: object) -> list:
        """Raise, see the class."""
        raise NotImplementedError(
            'prediction with several heads at once is not implemented; a model of one data set is '
            'made by tools/convert_checkpoint.py --dataset NAME --merge-experts'
        )

    def _check_state_dict(self, state_dict: dict[str, Tensor], prefix: str, *_: object) -> None:
        require_exact_match(self, state_dict, prefix)

"""Convert a checkpoint of any known source to vitpose_mm's, the official code's or another's."""

import argparse

EXAMPLES = """\
examples:
  a stand-alone model of one data set from an official ViTPose++ checkpoint:
    convert_checkpoint.py vitpose+_base.pth ap10k.pth --dataset ap10k --merge-experts
  a folder for transformers' from_pretrained:
    convert_checkpoint.py work_dirs/run/epoch_210.pth vitpose-b --to huggingface
  the encoder of MAE pre-training, without the decoder, and under MAE's names:
    convert_checkpoint.py work_dirs/mae/epoch_1600.pth encoder.pth
    convert_checkpoint.py work_dirs/mae/epoch_1600.pth encoder_mae.pth --to mae
  a start for training ViTPose++ from a plain encoder:
    convert_checkpoint.py mae_pretrain_vit_base.pth start.pth --spread-experts coco aic mpii
"""


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description=(
            'Convert a checkpoint. The source is recognised by the names in it: vitpose_mm, the '
            'official code (easy_ViTPose, files split from ViTPose++), mmpose 1.x, Hugging Face '
            'transformers, timm and DeiT, MAE. What is left out is printed with the reason. '
            'Training and inference read all of these without conversion.'
        ),
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        'source', metavar='SRC', help='.pth, .safetensors, .npz, or a folder of transformers'
    )
    parser.add_argument(
        'target',
        metavar='DST',
        help='.pth or .safetensors to write; for huggingface a new folder. Written whole or not '
        'at all',
    )
    parser.add_argument(
        '--to',
        choices=('vitpose_mm', 'official', 'mmpose', 'huggingface', 'mae'),
        default='vitpose_mm',
        help='whose names to write (default: vitpose_mm); mae is for pre-trained encoders, whose '
        'patches of 14 px all others pad to 16',
    )
    parser.add_argument('--dataset', metavar='NAME', help='keep only the head of this data set')
    parser.add_argument(
        '--merge-experts',
        action='store_true',
        help="merge the data set's expert into the backbone, which makes a plain ViT",
    )
    parser.add_argument(
        '--spread-experts',
        nargs='+',
        metavar='NAME',
        help='put a plain ViT into an expert for each of these data sets',
    )
    parser.add_argument(
        '--part-features',
        type=int,
        metavar='N',
        help='outputs that are these experts (default: a quarter of the width)',
    )
    parser.add_argument(
        '--num-heads',
        type=int,
        metavar='N',
        help='attention heads, which huggingface must be told where neither the file nor the '
        "width tells them: DeiT-S has 6, ViTPose's small 12",
    )
    return parser


def main() -> None:
    parser = build_parser()
    args = vars(parser.parse_args())
    # Imported late for a quick --help.
    from vitpose_mm.checkpoints import convert_file

    try:
        weights = convert_file(**args)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    heads = ', '.join(weights.heads) or 'none'
    print(f'{args["source"]}: {weights.source}')
    print(f'{args["target"]}: {args["to"]}; heads: {heads}; experts: {len(weights.experts)}')
    for name, reason in weights.dropped.items():
        print(f'  left out: {name} ({reason})')


if __name__ == '__main__':
    main()

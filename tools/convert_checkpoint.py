"""Convert the weights of another project to a file for vitpose_mm."""

import argparse


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Convert the encoder of a timm VisionTransformer or a DeiT. DST gets a '
        "state_dict with names backbone.*, for model.backbone.init_cfg=dict(type='Pretrained', "
        "checkpoint=DST, prefix='backbone.'). Class token and classifier are dropped. "
        "Weights do not tell the number of heads: DeiT-S has 6, ViTPose's 'small' 12."
    )
    parser.add_argument('source', metavar='SRC', help='.pth of torch.save, or .npz of arrays')
    parser.add_argument('target', metavar='DST', help='.pth to write')
    return parser


def main() -> None:
    parser = build_parser()
    args = parser.parse_args()
    # Imported late for a quick --help.
    from vitpose_mm.conversion import advice_on_heads, convert_file

    try:
        converted = convert_file(args.source, args.target)
    except (OSError, ValueError) as error:
        parser.error(str(error))
    parameters = sum(tensor.numel() for tensor in converted.values())
    print(f'{args.target}: {parameters / 1e6:.2f} M parameters')
    advice = advice_on_heads(converted)
    if advice is not None:
        print(advice)


if __name__ == '__main__':
    main()

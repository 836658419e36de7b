"""Convert the weights of another project to a file for vitpose_mm."""

import argparse


def build_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        description='Convert the encoder of a timm VisionTransformer or a DeiT. DST gets a '
        "state_dict with names backbone.*, for model.backbone.init_cfg=dict(type='Pretrained', "
        "checkpoint=DST, prefix='backbone.'). Class token and classifier are dropped."
    )
    parser.add_argument('source', metavar='SRC', help='.pth of torch.save, or .npz of arrays')
    parser.add_argument('target', metavar='DST', help='.pth to write')
    return parser


def main() -> None:
    parser = build_parser()
    args = parser.parse_args()
    # Imported late for a quick --help.
    from vitpose_mm.conversion import convert_file

    try:
        convert_file(args.source, args.target)
    except (FileNotFoundError, ValueError) as error:
        parser.error(str(error))


if __name__ == '__main__':
    main()

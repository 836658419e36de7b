"""Masked autoencoders: agreement with MAE's own code, properties, checkpoints, bad input."""

import math

import pytest
import torch
from mmengine.config import Config
from mmpose.registry import MODELS
from torch import nn

from vitpose_mm.checkpoints import CheckpointError, convert_file, load_file
from vitpose_mm.models import MAE, ViT
from vitpose_mm.models.pretrainers import (
    normalise_patches,
    patchify,
    random_masking,
    restore_order,
    sine_positions,
    unpatchify,
)

ARCH = dict(embed_dim=32, depth=2, num_heads=4)
INPUT_HW = (64, 48)


def build(img_size=INPUT_HW, backbone=(), **options) -> MAE:
    torch.manual_seed(0)
    backbone = dict(type='ViT', arch=ARCH, img_size=img_size, **dict(backbone))
    decoder = dict(decoder_dim=16, decoder_depth=1, decoder_num_heads=4)
    return MODELS.build(dict(type='MAE', backbone=backbone, **decoder, **options))


@pytest.mark.parametrize('name', ['mae', 'mae_normpix'])
def test_agrees_with_the_code_of_mae(name, load_reference, reference_dir):
    case = load_reference(name)
    model = build((64, 64), norm_pix_loss=case['config']['norm_pix_loss']).eval()
    weights = load_file(str(reference_dir / f'{name}.pth'))['model']
    # what is not learned is the same from the beginning
    assert torch.equal(model.backbone.pos_embed, weights['pos_embed'])
    assert torch.equal(model.decoder.pos_embed, weights['decoder_pos_embed'])
    model.load_state_dict(weights)
    images, noise = torch.from_numpy(case['images']), torch.from_numpy(case['noise'])
    with torch.no_grad():
        latent, mask, restore_ids = model.encode_visible(images, noise)
        predicted = model.decoder(latent, restore_ids)
        loss = model.loss(images, noise)['loss_pixels']
    for found, wanted, tolerance in (
        (latent, 'latent', 1e-5),
        (predicted, 'pred', 1e-5),
        (mask, 'mask', 0),
        (restore_ids, 'ids_restore', 0),
        (loss.double(), 'loss', 1e-6),
    ):
        wanted = torch.as_tensor(case[wanted])
        torch.testing.assert_close(found, wanted, rtol=0, atol=tolerance)


def test_patches_are_cut_and_joined_row_by_row():
    images = torch.arange(2 * 3 * 64 * 48).reshape(2, 3, 64, 48)
    patches = patchify(images, 16)
    assert patches.shape == (2, 12, 768)
    # patch 4 is the second of the second row; its pixels row by row, channels side by side
    wanted = images[1, :, 16:32, 16:32].permute(1, 2, 0).flatten()
    assert torch.equal(patches[1, 4], wanted)
    assert torch.equal(unpatchify(patches, (4, 3), 16), images)


def test_normalised_patches():
    patches = torch.randn(2, 3, 50) * 7 + 5
    normalised, mean, deviation = normalise_patches(patches)
    torch.testing.assert_close(normalised.mean(-1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(normalised.var(-1), torch.ones(2, 3), atol=1e-4, rtol=0)
    torch.testing.assert_close(normalised * deviation + mean, patches)
    flat, _, _ = normalise_patches(torch.full((1, 1, 50), 3.0))
    assert torch.equal(flat, torch.zeros(1, 1, 50))


def test_the_patches_of_least_noise_stay_visible():
    noise = torch.tensor([[0.3, 0.9, 0.1, 0.5], [0.2, 0.1, 0.4, 0.3]])
    visible_ids, mask, restore_ids = random_masking(noise, 2)
    assert visible_ids.tolist() == [[2, 0], [1, 0]]
    assert mask.tolist() == [[0, 1, 0, 1], [0, 0, 1, 1]]
    tokens = torch.arange(2 * 4 * 3).reshape(2, 4, 3)
    order = noise.argsort(1)
    shuffled = torch.stack([each[ids] for each, ids in zip(tokens, order)])
    assert torch.equal(restore_order(shuffled, restore_ids), tokens)


def test_masks_are_random_and_hide_three_quarters():
    model = build((128, 96))
    masks = torch.stack([model.encode_visible(torch.zeros(4, 3, 128, 96))[1] for _ in range(200)])
    assert (masks.sum(-1) == 36).all() and masks.shape[-1] == 48
    shares = masks.flatten(0, 1).mean(0)  # of 800 draws
    assert (shares - 0.75).abs().max() < 5 * math.sqrt(0.75 * 0.25 / 800)
    assert len({tuple(mask.tolist()) for mask in masks.flatten(0, 1)}) == 800


@pytest.mark.parametrize('grid_hw', [(4, 3), (2, 7)])
def test_positions_of_rectangles(grid_hw):
    positions = sine_positions(grid_hw, 8)
    assert positions.shape == (1, 1 + grid_hw[0] * grid_hw[1], 8)
    assert not positions[0, 0].any()
    for row in range(grid_hw[0]):
        for column in range(grid_hw[1]):
            wanted = [
                wave(place * frequency)
                for place in (column, row)
                for wave in (math.sin, math.cos)
                for frequency in (1, 0.01)
            ]
            found = positions[0, 1 + row * grid_hw[1] + column]
            torch.testing.assert_close(found, torch.tensor(wanted))


@pytest.mark.parametrize('class_token', ['keep', 'fold'])
@pytest.mark.parametrize('norm_pix_loss', [True, False])
def test_hidden_pixels_have_no_influence_on_what_is_encoded(class_token, norm_pix_loss):
    """... and the loss is the error of these pixels alone; on rectangles."""
    model = build(backbone=dict(class_token=class_token), norm_pix_loss=norm_pix_loss)
    images, noise = torch.randn(2, 3, *INPUT_HW), torch.rand(2, 12)
    latent, mask, restore_ids = model.encode_visible(images, noise)
    assert latent.shape == (2, 3 + (class_token == 'keep'), 32)
    assert mask.sum(1).tolist() == [9, 9]
    hidden = unpatchify(mask[:, :, None].expand(-1, -1, 768), (4, 3), 16).bool()
    changed = torch.where(hidden, torch.randn_like(images), images)
    assert torch.equal(model.encode_visible(changed, noise)[0], latent)
    seen = torch.where(hidden, images, torch.randn_like(images))
    assert not torch.allclose(model.encode_visible(seen, noise)[0], latent, atol=1e-2)

    predicted, target = model.decoder(latent, restore_ids), patchify(images, 16)
    if norm_pix_loss:
        target = (target - target.mean(-1, keepdim=True)) / (
            target.var(-1, keepdim=True) + 1e-6
        ).sqrt()
    errors = [
        (predicted[i, j] - target[i, j]).square().mean()
        for i in range(2)
        for j in range(12)
        if mask[i, j]
    ]
    torch.testing.assert_close(model.loss(images, noise)['loss_pixels'], sum(errors) / len(errors))


def test_only_visible_tokens_enter_the_encoder(monkeypatch):
    model = build((128, 96))
    lengths = []
    for block in model.backbone.blocks:
        block.register_forward_pre_hook(lambda _, inputs: lengths.append(inputs[0].shape[1]))
    model.loss(torch.zeros(2, 3, 128, 96))
    assert lengths == [13, 13]  # of 48, and the class token


@pytest.mark.parametrize('checkpointing', [False, True, 'selective'])
def test_everything_learns_but_the_positions(checkpointing):
    model = build(backbone=dict(activation_checkpointing=checkpointing)).train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    model.loss(torch.randn(2, 3, *INPUT_HW))['loss_pixels'].backward()
    optimizer.step()
    same = {n for n, tensor in model.state_dict().items() if torch.equal(tensor, before[n])}
    assert same == {'backbone.pos_embed', 'decoder.pos_embed'}


def test_learns_to_paint():
    """Images of one colour each: what is hidden can be told from what is visible."""
    model = build(norm_pix_loss=False)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    losses = []
    for _ in range(60):
        images = torch.randn(8, 3, 1, 1).expand(-1, -1, *INPUT_HW)
        loss = model.loss(images)['loss_pixels']
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert sum(losses[-5:]) / 5 < 0.3 < 0.8 < losses[0]
    images = torch.randn(4, 3, 1, 1).expand(-1, -1, *INPUT_HW)
    painted, hidden = model(images, mode='predict')
    assert hidden.shape == (4, 1, *INPUT_HW) and hidden.float().mean() == 0.75
    visible = ~hidden.expand_as(images)
    torch.testing.assert_close(painted[visible], images[visible])
    assert (painted - images).square().mean() < 0.3


def test_painted_patches_have_the_mean_and_variance_of_the_true_ones():
    model = build(norm_pix_loss=True)
    images, noise = torch.randn(2, 3, *INPUT_HW) * 3 + 2, torch.rand(2, 12)
    painted, _ = model.reconstruct(images, noise)
    latent, mask, restore_ids = model.encode_visible(images, noise)
    _, mean, deviation = normalise_patches(patchify(images, 16))
    wanted = model.decoder(latent, restore_ids) * deviation + mean
    torch.testing.assert_close(patchify(painted, 16)[mask.bool()], wanted[mask.bool()])


def test_compiled_and_in_mixed_precision():
    model = build()
    images, noise = torch.randn(2, 3, *INPUT_HW), torch.rand(2, 12)
    wanted = model.loss(images, noise)['loss_pixels']
    compiled = torch.compile(model.loss, backend='aot_eager', fullgraph=True)
    torch.testing.assert_close(compiled(images, noise)['loss_pixels'], wanted)
    with torch.autocast('cpu', torch.bfloat16):
        loss = model.loss(images, noise)['loss_pixels']
    torch.testing.assert_close(loss.float(), wanted, rtol=0.02, atol=0)
    loss.backward()
    assert all(p.grad is not None for p in model.parameters() if p.requires_grad)


def test_initial_weights_are_those_of_mae():
    torch.manual_seed(0)
    arch = dict(embed_dim=192, depth=1, num_heads=3)
    model = MAE(dict(type='ViT', arch=arch, img_size=INPUT_HW))
    model.init_weights()
    for name, module in model.named_modules():
        if isinstance(module, (nn.Linear, nn.Conv2d)):
            fan_out, fan_in = module.weight.flatten(1).shape
            bound = math.sqrt(6 / (fan_in + fan_out))
            assert 0.98 * bound < module.weight.abs().max() <= bound, name
            if isinstance(module, nn.Linear):
                assert not module.bias.any(), name
        elif isinstance(module, nn.LayerNorm):
            assert (module.weight == 1).all() and not module.bias.any()
    for token in (model.backbone.cls_token, model.decoder.mask_token):
        assert 0.015 < token.std() < 0.025
    trained = dict(
        type='ViT',
        arch=arch,
        img_size=INPUT_HW,
        init_cfg=dict(type='Constant', val=0.5, layer='Linear'),
    )
    other = MAE(trained)
    other.init_weights()
    assert (other.backbone.blocks[0].mlp.fc1.weight == 0.5).all(), 'a start of its own counts'


def checkpoint(path, model: MAE) -> str:
    torch.save(dict(meta={}, state_dict=model.state_dict()), path)
    return str(path)


def randomise(module: nn.Module) -> None:
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.1)


def test_a_checkpoint_starts_a_pose_model_as_it_is(tmp_path):
    model = build()
    randomise(model)
    path = checkpoint(tmp_path / 'mae.pth', model)
    for class_token in ('fold', 'keep'):
        vit = ViT(
            arch=ARCH,
            img_size=INPUT_HW,
            class_token=class_token,
            patch_padding=0,
            init_cfg=dict(type='Pretrained', checkpoint=path),
        )
        vit.init_weights()
        for name, parameter in vit.named_parameters():
            if name == 'pos_embed' and class_token == 'fold':
                assert not parameter[:, 0].any()
                assert torch.equal(parameter[:, 1:], model.backbone.pos_embed[:, 1:])
            else:
                assert torch.equal(parameter, model.backbone.state_dict()[name]), name
    # without hidden patches the encoder is that very ViT
    images = torch.randn(2, 3, *INPUT_HW)
    tokens = model.backbone.add_positions(*model.backbone.embed_patches(images))
    tokens = model.backbone.encode(tokens)[:, 1:]
    torch.testing.assert_close(vit(images)[0].flatten(2).transpose(1, 2), tokens)


def test_a_checkpoint_of_another_size_starts_a_pose_model_of_256x192(tmp_path):
    model = build((224, 224))
    path = checkpoint(tmp_path / 'mae.pth', model)
    vit = ViT(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=path))
    vit.init_weights()
    assert vit.pos_embed.shape[1] == 193
    # also with experts, which all begin alike
    experts = dict(experts=['a', 'b'], part_features=8)
    vit = ViT(arch=ARCH, init_cfg=dict(type='Pretrained', checkpoint=path), **experts)
    vit.init_weights()
    weights = [expert.weight for expert in vit.blocks[0].mlp.experts]
    assert torch.equal(*weights) and weights[0].any()


def test_pre_training_goes_on_from_own_files_and_those_of_mae(tmp_path):
    model, other = build(), build()
    randomise(model)
    other.load_state_dict(load_file(checkpoint(tmp_path / 'mae.pth', model))['state_dict'])
    theirs = {}
    for name, tensor in model.state_dict().items():
        inner = name.removeprefix('backbone.').replace('last_norm', 'norm')
        if name.startswith('decoder.'):
            inner = 'decoder_' + name.removeprefix('decoder.')
        theirs[inner.replace('decoder_mask_token', 'mask_token')] = tensor
    again = build()
    again.load_state_dict(theirs)
    for each in (other, again):
        for name, tensor in model.state_dict().items():
            assert torch.equal(each.state_dict()[name], tensor), name


@pytest.mark.parametrize('to', ['vitpose_mm', 'mae'])
def test_the_encoder_is_exported(to, tmp_path):
    model = build((128, 96))  # 49 positions might be a square's, without that of a class token
    randomise(model)
    weights = convert_file(checkpoint(tmp_path / 'mae.pth', model), tmp_path / 'encoder.pth', to=to)
    assert all(name.startswith('decoder.') for name in weights.dropped)
    assert len(weights.dropped) == len(model.decoder.state_dict())
    content = load_file(str(tmp_path / 'encoder.pth'))
    found = content['model' if to == 'mae' else 'state_dict']
    for name, tensor in model.backbone.state_dict().items():
        theirs = name.replace('last_norm', 'norm') if to == 'mae' else f'backbone.{name}'
        assert torch.equal(found.pop(theirs), tensor)
    assert not found
    vit = ViT(arch=ARCH, img_size=(128, 96), class_token='keep')
    vit.load_state_dict(
        load_file(str(tmp_path / 'encoder.pth'))['model' if to == 'mae' else 'state_dict']
    )


def test_names_of_an_exported_encoder_are_those_of_mae(reference_dir, tmp_path):
    theirs = load_file(str(reference_dir / 'mae.pth'))['model']
    path = checkpoint(tmp_path / 'mae.pth', build((64, 64)))
    convert_file(path, tmp_path / 'encoder.pth', to='mae')
    found = load_file(str(tmp_path / 'encoder.pth'))['model']
    wanted = {n: t.shape for n, t in theirs.items() if 'decoder' not in n and n != 'mask_token'}
    assert {name: tensor.shape for name, tensor in found.items()} == wanted


@pytest.mark.parametrize('to', ['vitpose_mm', 'official', 'mae'])
def test_patches_of_14_px_are_padded_on_export(to, tmp_path):
    model = build((56, 42), dict(patch_size=14))
    assert model.loss(torch.randn(2, 3, 56, 42))['loss_pixels'].isfinite()
    convert_file(checkpoint(tmp_path / 'mae.pth', model), tmp_path / 'encoder.pth', to=to)
    content = load_file(str(tmp_path / 'encoder.pth'))
    found = next(
        t
        for w in ('model', 'state_dict')
        for n, t in content.get(w, {}).items()
        if n.endswith('patch_embed.proj.weight')
    )
    kernel = model.backbone.patch_embed.proj.weight
    if to == 'mae':
        assert torch.equal(found, kernel)
        return
    assert found.shape == (32, 3, 16, 16) and torch.equal(found[..., 1:-1, 1:-1], kernel)
    assert found.abs().sum() == kernel.abs().sum()


def test_pose_models_keep_their_patches(tmp_path):
    codec = dict(type='BatchedUDPHeatmap', input_size=(42, 56), heatmap_size=(12, 16))
    head = dict(type='TopdownHeatmapBilinearHead', in_channels=32, out_channels=17, decoder=codec)
    vit = dict(type='ViT', arch=ARCH, img_size=(56, 42), patch_size=14)
    model = MODELS.build(dict(type='TopdownViTPose', backbone=vit, head=head))
    torch.save(dict(state_dict=model.state_dict()), tmp_path / 'pose.pth')
    convert_file(tmp_path / 'pose.pth', tmp_path / 'again.pth')
    model.load_state_dict(load_file(str(tmp_path / 'again.pth'))['state_dict'])


def test_encoders_are_exported_to_mmpose_as_those_of_mae_are(reference_dir, tmp_path):
    path = checkpoint(tmp_path / 'mae.pth', build((64, 64)))
    convert_file(path, tmp_path / 'ours.pth', to='mmpose')
    convert_file(reference_dir / 'mae.pth', tmp_path / 'theirs.pth', to='mmpose')
    names = [
        set(load_file(str(tmp_path / f'{name}.pth'))['state_dict']) for name in ('ours', 'theirs')
    ]
    assert names[0] == names[1]


def test_pose_models_are_no_encoders_of_mae(tmp_path):
    vit = ViT(arch=ARCH, img_size=INPUT_HW)
    torch.save(dict(state_dict=vit.state_dict()), tmp_path / 'vit.pth')
    with pytest.raises(CheckpointError, match='with its class token; the checkpoint has no class'):
        convert_file(tmp_path / 'vit.pth', tmp_path / 'encoder.pth', to='mae')
    assert not (tmp_path / 'encoder.pth').exists()


def test_files_without_a_decoder_are_refused():
    model = build()
    encoder = {n: t for n, t in model.state_dict().items() if n.startswith('backbone.')}
    with pytest.raises(CheckpointError, match=r"MAEDecoder under 'decoder.'; missing: .*init_cfg="):
        build().load_state_dict(encoder)


@pytest.mark.parametrize(
    ('options', 'message'),
    [
        *(
            (dict(mask_ratio=r), f'mask_ratio must be between 0 and 1.*got {r}')
            for r in (0, 1, 1.5)
        ),
        (dict(mask_ratio=-0.5), 'mask_ratio must be .*got -0.5 of 12 patches'),
        (dict(mask_ratio=0.95), 'leave at least one patch visible .*got 0.95 of 12 patches'),
        (dict(mask_ratio=1e-20), 'and one hidden, got 1e-20'),
        (dict(mask_ratio='most'), "got 'most'"),
        (dict(mask_ratio=float('nan')), 'got nan'),
        (dict(mask_ratio=True), 'got True'),
        (dict(norm_pix_loss='yes'), "norm_pix_loss must be True or False, got 'yes'"),
        (dict(backbone=dict(attention='window', window_hw=(2, 2))), r"must be 'full', got 'window"),
        (dict(backbone=dict(relative_positions=True)), "attention must be 'full'"),
        (dict(backbone=dict(experts=['coco'])), r"experts are \['coco'\]: leave them out"),
        (dict(backbone=dict(patch_padding=2)), 'ratio must be 1 and patch_padding 0, got 1 and 2'),
        (dict(backbone=dict(ratio=2, patch_padding=4)), 'got 2 and 4'),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        build(**options)


@pytest.mark.parametrize('name', ['decoder_dim', 'decoder_depth', 'decoder_num_heads'])
def test_bad_decoders_are_named(name):
    with pytest.raises(ValueError, match=f'{name} must be a positive whole number, got 0'):
        MAE(dict(type='ViT', arch=ARCH, img_size=INPUT_HW), **{name: 0})


@pytest.mark.parametrize(
    'options', [dict(decoder_dim=10), dict(decoder_dim=16, decoder_num_heads=3)]
)
def test_decoders_that_do_not_divide_are_named(options):
    with pytest.raises(ValueError, match='decoder_dim must be a multiple of decoder_num_heads and'):
        MAE(dict(type='ViT', arch=ARCH, img_size=INPUT_HW), **options)


def test_images_of_another_size_are_refused():
    with pytest.raises(ValueError, match=r'gives \(4, 3\) patches, images of \(48, 64\) px give'):
        build()(torch.zeros(1, 3, 48, 64), mode='loss')
    with pytest.raises(ValueError, match="got 'train'"):
        build()(torch.zeros(1, 3, 64, 48), mode='train')


def test_a_config_is_not_changed():
    cfg = Config(dict(backbone=dict(type='ViT', arch=ARCH, img_size=INPUT_HW)))
    MAE(cfg.backbone)
    assert set(cfg.backbone) == {'type', 'arch', 'img_size'}

import argparse
import json
import os
import pickle
import shutil
import subprocess
import sys
import urllib.error
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmengine.runner.checkpoint import save_checkpoint
from safetensors.torch import save_file

from vitpose_mm.checkpoints import CheckpointError, load_file, loading


@pytest.fixture(params=['allow_list', 'restricted_pickle'])
def protection(request, monkeypatch):
    """Both ways of reading: torch's own from 2.6 on, ours before."""
    if request.param == 'allow_list' and not loading.TORCH_HAS_ALLOW_LIST:
        pytest.skip('torch < 2.6 has no allow-list')
    monkeypatch.setattr(loading, 'TORCH_HAS_ALLOW_LIST', request.param == 'allow_list')


def mmengine_checkpoint() -> dict:
    history = HistoryBuffer()
    history.update(0.5)
    history.update(0.25)
    return dict(
        state_dict=OrderedDict(weight=torch.arange(3.0), half=torch.ones(2, dtype=torch.float16)),
        optimizer=dict(state={0: dict(step=torch.tensor(3.0))}, param_groups=[dict(lr=0.1)]),
        meta=dict(
            epoch=2,
            dataset_meta=dict(
                sigmas=np.array([0.1, 0.2]),
                indices=np.array([1, 2], dtype=np.int64),
                names={'nose', 'eye'},
                score=np.float32(0.5),
            ),
        ),
        message_hub=dict(log_scalars=OrderedDict(loss=history)),
    )


@pytest.mark.parametrize('legacy', [False, True])
def test_mmengines_own_checkpoints_are_read(tmp_path, protection, legacy):
    path = tmp_path / 'epoch_2.pth'
    torch.save(mmengine_checkpoint(), path, _use_new_zipfile_serialization=not legacy)
    loaded = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    assert torch.equal(loaded['state_dict']['weight'], torch.arange(3.0))
    assert loaded['state_dict']['half'].dtype == torch.float16
    assert loaded['meta']['dataset_meta']['sigmas'].tolist() == [0.1, 0.2]
    assert loaded['meta']['dataset_meta']['names'] == {'nose', 'eye'}
    assert loaded['meta']['dataset_meta']['score'] == 0.5
    history = loaded['message_hub']['log_scalars']['loss']
    assert history.mean() == 0.375
    assert history.statistics('min') == 0.25


def test_arguments_of_a_command_line_are_read(tmp_path, protection):
    """MAE, DeiT and timm save them with the weights."""
    arguments = argparse.Namespace(lr=0.1, output_dir='out', betas=(0.9, 0.95))
    torch.save(dict(model=dict(weight=torch.ones(2)), args=arguments), tmp_path / 'mae.pth')
    loaded = CheckpointLoader.load_checkpoint(str(tmp_path / 'mae.pth'), map_location='cpu')
    assert loaded['args'] == arguments
    assert loaded['state_dict']['weight'].tolist() == [1, 1]


class RunsCode:
    def __init__(self, function, *args) -> None:
        self.call = function, args

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize(
    'function, wanted', [(os.makedirs, 'os.makedirs|os'), (eval, 'eval'), (getattr, 'getattr')]
)
def test_nothing_in_a_file_is_executed(tmp_path, protection, function, wanted):
    trap = tmp_path / 'trap'
    arguments = {
        os.makedirs: (str(trap),),
        eval: (f'__import__("os").makedirs({str(trap)!r})',),
        # what HistoryBuffer needs of getattr must not open the way to anything else
        getattr: (HistoryBuffer, '__init__'),
    }[function]
    path = tmp_path / 'hostile.pth'
    torch.save(dict(state_dict={}, meta=RunsCode(function, *arguments)), path)
    with pytest.raises(CheckpointError, match=f'hostile.pth was not loaded.*({wanted})'):
        load_file(path)
    assert not trap.exists()


def test_hostile_plain_pickles_are_refused(tmp_path, protection):
    trap = tmp_path / 'trap'
    path = tmp_path / 'plain.pth'
    path.write_bytes(pickle.dumps(RunsCode(os.makedirs, str(trap))))
    with pytest.raises(CheckpointError, match=r'plain\.pth'):
        load_file(path)
    assert not trap.exists()


class Scripted(torch.nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x


def test_torchscript_archives_are_refused(tmp_path, protection):
    path = tmp_path / 'scripted.pth'
    torch.jit.script(Scripted()).save(str(path))
    with pytest.raises(CheckpointError, match=r'scripted\.pth'):
        load_file(path)


@pytest.mark.parametrize('content', ['truncated', 'empty', 'text', 'zip'])
def test_damaged_files_are_named(tmp_path, protection, content):
    path = tmp_path / 'damaged.pth'
    save_checkpoint(mmengine_checkpoint(), str(path))
    if content == 'zip':
        with zipfile.ZipFile(path, 'w') as file:
            file.writestr('readme.txt', 'nothing')
    else:
        whole = path.read_bytes()
        new = dict(truncated=whole[: len(whole) // 2], empty=b'', text=b'<html>404</html>')
        path.write_bytes(new[content])
    with pytest.raises(CheckpointError, match=r'damaged\.pth (is damaged|was not loaded)'):
        load_file(path)


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'checkpoint .*nowhere.pth does not exist'):
        CheckpointLoader.load_checkpoint(str(tmp_path / 'nowhere.pth'))


@pytest.mark.parametrize(
    'path, loader',
    [
        ('epoch_1.pth', 'load_from_local_safely'),
        ('/data/epoch_1.pth', 'load_from_local_safely'),
        ('./http/epoch_1.pth', 'load_from_local_safely'),
        ('http://example.org/vitpose.pth', 'load_from_http_safely'),
        ('https://example.org/vitpose.pth', 'load_from_http_safely'),
        ('s3://bucket/vitpose.pth', 'load_from_ceph'),
        ('torchvision://resnet50', 'load_from_torchvision'),
    ],
)
def test_which_loader_takes_which_address(path, loader):
    assert CheckpointLoader._get_checkpoint_loader(path).__name__ == loader


@pytest.fixture
def web(tmp_path, monkeypatch):
    """Addresses to files that they give; every download is noted."""
    served, requests = {}, []

    def download(url, destination, *args, **kwargs):
        requests.append(url)
        if url not in served:
            raise urllib.error.HTTPError(url, 404, 'Not Found', None, None)
        shutil.copy(served[url], destination)

    monkeypatch.setattr(torch.hub, 'get_dir', lambda: str(tmp_path / 'hub'))
    monkeypatch.setattr(torch.hub, 'download_url_to_file', download)
    return served, requests


def test_downloads_are_read_safely_and_kept(tmp_path, web):
    served, requests = web
    url = 'https://example.org/a/served.pth?token=1'
    served[url] = tmp_path / 'served.pth'
    torch.save(dict(state_dict=dict(weight=torch.ones(2))), served[url])
    for _ in range(2):
        loaded = CheckpointLoader.load_checkpoint(url)
        assert loaded['state_dict']['weight'].tolist() == [1, 1]
    assert requests == [url]


def test_downloads_of_the_same_name_are_told_apart(tmp_path, web):
    """Half of the addresses on the web end in model.safetensors."""
    served, _ = web
    for index, folder in enumerate('ab'):
        (tmp_path / folder).mkdir()
        file = tmp_path / folder / 'model.safetensors'
        save_file(dict(weight=torch.full((2,), float(index))), file)
        served[f'https://example.org/{folder}/model.safetensors'] = file
    for index, url in enumerate(served):
        loaded = CheckpointLoader.load_checkpoint(url)
        assert loaded['state_dict']['weight'].tolist() == [index, index]
    # names that hold a hash of the file stay, so that caches of OpenMMLab and torch are of use
    assert loading.cached_name('https://x.org/deit-a1311bcf.pth?a=1') == 'deit-a1311bcf.pth'


def test_downloads_that_fail_are_named_and_not_kept(tmp_path, web):
    served, requests = web
    with pytest.raises(OSError, match=r'https://example\.org/gone\.pth could not be downloaded'):
        CheckpointLoader.load_checkpoint('https://example.org/gone.pth')
    url = 'https://example.org/page.pth'
    served[url] = tmp_path / 'page.html'
    served[url].write_text('<html>please log in</html>')
    for _ in range(2):
        with pytest.raises(CheckpointError, match=r'page\.pth'):
            CheckpointLoader.load_checkpoint(url)
    assert requests.count(url) == 2


# --- forged numpy objects ---


def pickled(*pieces: bytes) -> bytes:
    return b'\x80\x02' + b''.join(pieces) + b'.'


def dtype(code: str, state: bytes = b'') -> bytes:
    """numpy.dtype(code, 0, 1), and what its ``__setstate__`` gets, if anything."""
    text = code.encode()
    made = b'cnumpy\ndtype\n(X' + len(text).to_bytes(4, 'little') + text + b'K\x00K\x01tR'
    return made + (b'(K\x03X\x01\x00\x00\x00' + state + b'tb' if state else b'')


MINUS_ONE, MINUS_FIVE = b'J\xff\xff\xff\xff', b'J\xfb\xff\xff\xff'
FORGED = {
    'objects': dtype('O8'),
    'record': dtype('f8,O8'),
    'size': dtype('S8', b'|NNN' + MINUS_FIVE + b'K\x01K\x00'),
    'flags': dtype('f8', b'<NNN' + MINUS_ONE + MINUS_ONE + b'K\x3f'),
    'scalar': b'cnumpy.core.multiarray\nscalar\n(' + dtype('f8') + b'cnumpy\nndarray\ntR',
}


@pytest.mark.parametrize('kind', FORGED)
def test_forged_numpy_objects_are_refused(tmp_path, protection, kind):
    """numpy takes from a pickle where its memory begins and ends, and crashes if that is wrong."""
    path = tmp_path / 'forged.pth'
    torch.save(dict(value=0), path)
    with zipfile.ZipFile(path) as archive:
        names = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, 'w') as archive:
        for name, content in names.items():
            archive.writestr(name, pickled(FORGED[kind]) if name.endswith('data.pkl') else content)
    with pytest.raises(CheckpointError, match=r'forged\.pth'):
        load_file(str(path))


@pytest.mark.parametrize(
    'value',
    [
        np.arange(6.0).reshape(2, 3),
        np.asfortranarray(np.arange(6, dtype=np.int16).reshape(2, 3)),
        np.array(['nose', 'eye']),
        np.array([True, False]),
        np.arange(3, dtype='>f4'),
        np.array([1 + 0.5], dtype=np.float16),
        np.zeros((0, 3)),
        np.float32(0.5),
        np.int64(-3),
        np.bool_(True),
        np.str_('nose'),
        np.dtype('float32'),
    ],
)
def test_numbers_and_strings_of_numpy_are_read(tmp_path, protection, value):
    torch.save(dict(meta=dict(value=value, more=[(value,)])), tmp_path / 'meta.pth')
    meta = load_file(str(tmp_path / 'meta.pth'))['meta']
    for read in (meta['value'], meta['more'][0][0]):
        assert type(read) is type(value)
        if not isinstance(value, np.dtype):
            assert read.dtype.newbyteorder('=') == value.dtype.newbyteorder('=')
        np.testing.assert_array_equal(read, value)


# --- weights left in the file until they are used ---


@pytest.mark.parametrize('suffix', ['pth', 'safetensors'])
def test_mapped_weights_are_the_same(tmp_path, suffix):
    state = {f'layer{index}': torch.randn(300, 300) for index in range(3)}
    path = tmp_path / f'weights.{suffix}'
    torch.save(state, path) if suffix == 'pth' else save_file(state, path)
    mapped = loading.state_dict_of(load_file(str(path), mapped=True))
    for name, tensor in state.items():
        for _ in range(2):  # what was let go of is read again
            assert torch.equal(mapped[name], tensor)
            loading.release_mapped(mapped[name])


def test_what_was_changed_is_not_let_go_of(tmp_path):
    torch.save({'weight': torch.ones(300, 300)}, tmp_path / 'file.pth')
    weight = load_file(str(tmp_path / 'file.pth'), mapped=True)['weight']
    weight.add_(1)
    loading.release_mapped(weight)
    assert (weight == 2).all()
    other = torch.ones(300, 300)
    loading.release_mapped(other)
    assert (other == 1).all()


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_only_weights_stay_in_the_file(tmp_path):
    """The state of an optimizer outlives its loading."""
    path = tmp_path / 'epoch_1.pth'
    moments = {0: dict(exp_avg=torch.ones(500, 500)), 1: [torch.ones(3), (torch.ones(3), 'x')]}
    content = dict(state_dict=dict(weight=torch.ones(500, 500)), optimizer=dict(state=moments))
    torch.save(content, path)
    model = torch.nn.Module()
    model.weight = torch.nn.Parameter(torch.zeros(500, 500))
    loaded = load_checkpoint(model, str(path), map_location='cpu')
    assert (model.weight == 1).all()

    def is_mapped(tensor) -> bool:
        for line in Path('/proc/self/maps').read_text().splitlines():
            begin, end = (int(side, 16) for side in line.split()[0].split('-'))
            if begin <= tensor.data_ptr() < end:
                return line.endswith(str(path))
        raise AssertionError('the tensor is nowhere')

    state = loaded['optimizer']['state']
    others = [state[0]['exp_avg'], state[1][0], state[1][1][0]]
    assert is_mapped(loaded['state_dict']['weight'])
    assert not any(map(is_mapped, others))
    assert all(bool((tensor == 1).all()) for tensor in others)
    assert state[1][1][1] == 'x'
    handed_out = CheckpointLoader.load_checkpoint(str(path), map_location='cpu')
    assert not is_mapped(handed_out['state_dict']['weight']), 'its user may save it to the file'
    torch.save(handed_out, path)
    assert load_file(str(path))['state_dict']['weight'].sum() == 500 * 500


PEAK = """
import re, sys
from pathlib import Path
import torch
from mmengine.registry import init_default_scope
from mmengine.runner import load_checkpoint
from mmpose.registry import MODELS
import vitpose_mm
init_default_scope('mmpose')
vit = dict(type='ViT', arch=dict(embed_dim=768, depth=6, num_heads=12))
model = MODELS.build(vit)
path = sys.argv[1]
torch.save(dict(state_dict=model.state_dict()), path)
load_checkpoint(model, path, map_location='cpu')  # what is needed once for good
def memory(kind):
    return int(re.search(kind + r':\\s+(\\d+)', Path('/proc/self/status').read_text())[1])
Path('/proc/self/clear_refs').write_text('5')
before = memory('VmRSS')
load_checkpoint(model, path, map_location='cpu')
print((memory('VmHWM') - before) * 1024 / Path(path).stat().st_size)
"""


@pytest.mark.skipif(sys.platform != 'linux', reason='reads /proc')
def test_loading_takes_little_more_memory_than_the_model(tmp_path):
    command = [sys.executable, '-W', 'ignore', '-c', PEAK, str(tmp_path / 'vit.pth')]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    share = float(done.stdout.split()[-1])
    print(f'peak above the model: {share:.1%} of the file')
    assert share < 0.2


# --- other containers ---


def test_damaged_safetensors_are_named(tmp_path):
    path = tmp_path / 'model.safetensors'
    save_file(dict(weight=torch.ones(30, 30)), path)
    whole = path.read_bytes()
    contents = (b'', b'text', whole[:40], whole[:-100], b'\xff' * 8 + whole[8:])
    for content in contents:
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r'model\.safetensors is damaged'):
            load_file(str(path))
    path.write_bytes(whole)
    assert load_file(str(path))['state_dict']['weight'].sum() == 900


def test_folders_without_weights_or_with_damaged_ones_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r'holds none of model\.safetensors, '):
        load_file(str(tmp_path))
    index = tmp_path / 'model.safetensors.index.json'
    for content, message in (('{', 'is damaged'), ('[]', 'holds a list'), ('{}', 'no weight_map')):
        index.write_text(content)
        with pytest.raises(CheckpointError, match=rf'index\.json .*{message}'):
            load_file(str(tmp_path))
    for name in ('../../gone.safetensors', '..', '.', '', '/etc/passwd'):
        index.write_text(json.dumps(dict(weight_map=dict(weight=name))))
        with pytest.raises(CheckpointError, match=r'must name files beside it .* got \['):
            load_file(str(tmp_path))
    index.write_text('{"weight_map": {"weight": "gone.safetensors"}}')
    with pytest.raises(FileNotFoundError, match=rf'{tmp_path}/gone\.safetensors does not exist'):
        load_file(str(tmp_path))
    index.write_text('[' * 100_000)
    with pytest.raises(CheckpointError, match=r'index\.json is damaged'):
        load_file(str(tmp_path))
    save_file(dict(weight=torch.ones(2)), tmp_path / 'model.safetensors')
    (tmp_path / 'config.json').write_text('not json')
    with pytest.raises(CheckpointError, match=r'config\.json is damaged'):
        load_file(str(tmp_path))


def test_hostile_weights_in_a_folder_are_refused(tmp_path, protection):
    trap = tmp_path / 'trap'
    torch.save(dict(weight=RunsCode(os.makedirs, str(trap))), tmp_path / 'pytorch_model.bin')
    with pytest.raises(CheckpointError, match=r'pytorch_model\.bin was not loaded'):
        load_file(str(tmp_path))
    assert not trap.exists()

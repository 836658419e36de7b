"""Keypoints to heatmaps and back, batched in torch on whatever device the tensors are on.

All functions are pure. Coordinates are (x, y) in heatmap px; heatmaps are (B, K, H, W).
"""

from functools import lru_cache

import cv2
import torch
from torch import Tensor

from vitpose_mm.torch_versions import is_compiling


def gaussian_heatmaps(
    keypoints: Tensor,
    visible: Tensor,
    heatmap_hw: tuple[int, int],
    sigma: float,
    subpixel_center: bool,
    truncate: bool = True,
) -> tuple[Tensor, Tensor]:
    """Draw one Gaussian of height 1 for each keypoint, cut off at 3 sigma.

    A Gaussian is the outer product of a row and a column, so no pixel is visited twice and nothing
    is copied to the host.

    Args:
        keypoints: (B, K, 2), heatmap px.
        visible: (B, K); below 0.5 the heatmap stays empty, and the value is kept as weight.
        heatmap_hw: Height and width of the heatmaps.
        sigma: Standard deviation in heatmap px.
        subpixel_center: Centre the Gaussian on the keypoint itself (UDP, arXiv 1911.07524) instead
            of on the nearest pixel (MSRA, arXiv 1804.06208).
        truncate: Whether pixels beyond 3 sigma of the nearest pixel are zero. DARK's unbiased
            targets (arXiv 1910.06278) are not truncated.

    Returns:
        Heatmaps (B, K, H, W), and weights (B, K): ``visible``, with zeros where the Gaussian lies
        outside the heatmap or the keypoint is not finite. Like the official
        ``TopDownGenerateTarget``, a keypoint within 3 sigma plus one pixel of the border still
        counts as inside.
    """
    height, width = heatmap_hw
    radius = 3 * sigma
    # Towards zero, as numpy's and Python's integer casts do.
    pixel = (keypoints + 0.5).trunc() if truncate else keypoints
    low, high = pixel - radius, pixel + radius + 1
    if truncate:
        low, high = low.trunc(), high.trunc()
    beyond = (low[..., 0] >= width) | (low[..., 1] >= height)
    outside = beyond | ((high < 0) | ~keypoints.isfinite()).any(-1)  # (B, K)
    drawn = (visible >= 0.5) & ~outside

    center = keypoints if subpixel_center else pixel

    def profile(axis: int, length: int) -> Tensor:
        positions = torch.arange(length, device=keypoints.device, dtype=keypoints.dtype)
        values = torch.exp(-((positions - center[..., axis, None]) ** 2) / (2 * sigma**2))
        if truncate:
            inside = (positions >= low[..., axis, None]) & (positions < high[..., axis, None])
            values = torch.where(inside, values, 0.0)
        return values

    columns, rows = profile(0, width), profile(1, height)  # (B, K, W), (B, K, H)
    rows = torch.where(drawn[..., None], rows, 0.0)
    columns = torch.where(drawn[..., None], columns, 0.0)
    weights = torch.where(outside & (visible >= 0.5), 0.0, visible)
    return rows[..., :, None] * columns[..., None, :], weights


def heatmap_maxima(heatmaps: Tensor) -> tuple[Tensor, Tensor]:
    """Find the greatest value of every heatmap; of equals the first in row order.

    Returns:
        Pixel (B, K, 2) as integers, and value (B, K). Where the value is not above zero, and where
        it is NaN, the pixel is (-1, -1), as in mmpose and the official code.
    """
    flat = heatmaps.flatten(2)
    traced = is_compiling() or torch.jit.is_tracing()
    if heatmaps.device.type == 'cpu' and not traced:
        # numpy's argmax is vectorised, torch's on the CPU is not
        index = torch.from_numpy(flat.detach().float().numpy().argmax(-1))[..., None]
        values = flat.gather(-1, index)
    else:
        values, index = flat.max(-1, keepdim=True)
    width = heatmaps.shape[-1]
    pixels = torch.cat([index % width, index.div(width, rounding_mode='floor')], -1)
    return torch.where(values > 0, pixels, -1), values[..., 0]


@lru_cache(maxsize=64)
@torch.inference_mode(False)  # what is cached may be used in training later
def blur_matrix(length: int, kernel_size: int, border: str, device: torch.device) -> Tensor:
    """OpenCV's one-dimensional Gaussian blur, border included, as a float32 (length, length) map.

    Args:
        length: Number of pixels along the axis.
        kernel_size: Odd; sigma follows OpenCV's rule ``0.3 * ((kernel_size - 1) / 2 - 1) + 0.8``.
        border: 'reflect' (OpenCV's default, edge pixel not repeated) or 'zero'.
        device: Where the matrix is needed.
    """
    reach = kernel_size // 2
    weights = torch.from_numpy(cv2.getGaussianKernel(kernel_size, 0))[:, 0]
    target = torch.arange(length, device='cpu')[:, None].expand(-1, kernel_size)
    source = target + torch.arange(-reach, reach + 1, device='cpu')
    weights = weights.expand(length, -1)
    if border == 'reflect':
        period = max(2 * (length - 1), 1)
        source = source.remainder(period)
        source = torch.where(source >= length, period - source, source)
    else:
        weights = torch.where((source >= 0) & (source < length), weights, 0.0)
        source = source.clamp(0, length - 1)
    matrix = torch.zeros(length, length, dtype=torch.float64, device='cpu')
    matrix.index_put_((target, source), weights, accumulate=True)
    return matrix.to(device, torch.float32)


@lru_cache(maxsize=64)
@torch.inference_mode(False)
def blur_taps(
    length: int, kernel_size: int, reach: int, border: str, device: torch.device
) -> tuple[Tensor, Tensor]:
    """What the blur of each pixel and its neighbours along one axis needs.

    Returns:
        First pixel (length,) of a window that holds all that is needed, and weights
        (length, 2 * reach + 1, size of the window) of the blurred neighbours, edges repeated.
    """
    size = min(2 * (reach + kernel_size // 2) + 1, length)
    center = torch.arange(length, device='cpu')
    first = (center - size // 2).clamp(0, length - size)
    neighbours = (center[:, None] + torch.arange(-reach, reach + 1, device='cpu')).clamp(
        0, length - 1
    )
    window = first[:, None] + torch.arange(size, device='cpu')
    matrix = blur_matrix(length, kernel_size, border, torch.device('cpu'))
    weights = matrix[neighbours[:, :, None], window[:, None, :]]
    return first.to(device), weights.to(device)


def blur_around(
    heatmaps: Tensor, pixels: Tensor, kernel_size: int, reach: int, border: str
) -> Tensor:
    """Gaussian-blur heatmaps only where the result is asked for: around one pixel of each.

    Neighbours outside the heatmap repeat the edge, as ``np.pad(..., mode='edge')`` after a blur of
    everything would.

    Args:
        heatmaps: (B, K, H, W).
        pixels: (B, K, 2) integer (x, y) inside the heatmap; -1 counts as 0.
        kernel_size: See :func:`blur_matrix`.
        reach: Neighbours on each side.
        border: See :func:`blur_matrix`.

    Returns:
        (B, K, 2 * reach + 1, 2 * reach + 1) float32, rows first.
    """
    height, width = heatmaps.shape[2:]
    x, y = pixels.flatten(0, 1).clamp_min(0).unbind(-1)  # each (B*K,)
    first_row, row_weights = blur_taps(height, kernel_size, reach, border, heatmaps.device)
    first_column, column_weights = blur_taps(width, kernel_size, reach, border, heatmaps.device)
    num_rows, num_columns = row_weights.shape[2], column_weights.shape[2]
    maps = torch.arange(len(x), device=heatmaps.device)
    corners = (maps * height + first_row[y]) * width + first_column[x]  # pixels of all maps
    rows = torch.arange(0, num_rows * width, width, device=heatmaps.device)
    starts = corners[:, None] + rows  # (B*K, rows of a patch)
    # Each start is a row of a view, so that whole pieces of rows are copied.
    pieces = heatmaps.reshape(-1).unfold(0, num_columns, 1).index_select(0, starts.flatten())
    patches = pieces.view(len(x), num_rows, num_columns).float()
    blurred = row_weights.index_select(0, y) @ patches
    blurred = blurred @ column_weights.index_select(0, x).transpose(1, 2)
    return blurred.unflatten(0, heatmaps.shape[:2])


def blurred_maximum(heatmaps: Tensor, kernel_size: int) -> Tensor:
    """Maximum (N,) of float32 heatmaps (N, H, W) after a Gaussian blur with zeros around."""
    rows = blur_matrix(heatmaps.shape[1], kernel_size, 'zero', heatmaps.device)
    columns = blur_matrix(heatmaps.shape[2], kernel_size, 'zero', heatmaps.device)
    return (rows @ heatmaps @ columns.T).amax((1, 2))


def blur_around_like_mmpose(
    heatmaps: Tensor, pixels: Tensor, values: Tensor, kernel_size: int, reach: int, floor: float
) -> Tensor:
    """Same values around a pixel as mmpose's ``gaussian_blur``, as far as its logarithm needs them.

    mmpose scales a blurred heatmap back to its old maximum. In a logarithm that is an added
    constant without effect, except on values that the clipping at ``floor`` meets: only heatmaps
    that come so low are blurred whole.
    """
    patches = blur_around(heatmaps, pixels, kernel_size, reach, 'zero')
    low = (patches.amin((-2, -1)) < floor) & (values > 0)
    if low.any():
        maxima = blurred_maximum(heatmaps[low].float(), kernel_size)
        patches[low] *= (values[low] / maxima)[:, None, None]
    return patches


def newton_step(
    dx: Tensor, dy: Tensor, dxx: Tensor, dxy: Tensor, dyy: Tensor, ridge: float
) -> Tensor:
    """Offset (..., 2) from a pixel to the extremum of its second-order Taylor expansion.

    A Hessian without inverse gives no offset.
    """
    dxx, dyy = dxx + ridge, dyy + ridge
    determinant = dxx * dyy - dxy * dxy
    solvable = determinant != 0
    determinant = torch.where(solvable, determinant, 1.0)
    offset = -torch.stack([dyy * dx - dxy * dy, dxx * dy - dxy * dx], -1) / determinant[..., None]
    return torch.where(solvable[..., None], offset, 0.0)


def refine_dark_udp(log_patches: Tensor) -> Tensor:
    """Offsets (B, K, 2) from 3 x 3 log-heatmaps by UDP's version of DARK.

    Source: official ``mmpose/core/evaluation/top_down_eval.py``, ``post_dark_udp``. Its mixed
    derivative looks at two of the four corners only.
    """
    up_left, up, _, left, mid, right, _, down, down_right = log_patches.flatten(-2).unbind(-1)
    # Differences of nearly equal numbers: the official order of operations gives its last digits.
    return newton_step(
        dx=0.5 * (right - left),
        dy=0.5 * (down - up),
        dxx=right - 2 * mid + left,
        dxy=0.5 * (down_right - right - down + mid + mid - left - up + up_left),
        dyy=down - 2 * mid + up,
        ridge=torch.finfo(torch.float32).eps,
    )


def refine_dark(log_patches: Tensor) -> Tensor:
    """Offsets (B, K, 2) from 5 x 5 log-heatmaps by DARK (arXiv 1910.06278, ``_taylor``)."""
    p = log_patches
    return newton_step(
        dx=0.5 * (p[..., 2, 3] - p[..., 2, 1]),
        dy=0.5 * (p[..., 3, 2] - p[..., 1, 2]),
        dxx=0.25 * (p[..., 2, 4] - 2 * p[..., 2, 2] + p[..., 2, 0]),
        dxy=0.25 * (p[..., 3, 3] - p[..., 1, 3] - p[..., 3, 1] + p[..., 1, 1]),
        dyy=0.25 * (p[..., 4, 2] - 2 * p[..., 2, 2] + p[..., 0, 2]),
        ridge=0.0,
    )


def refine_quarter(heatmaps: Tensor, pixels: Tensor) -> Tensor:
    """Offsets (B, K, 2): a quarter of a pixel towards the higher neighbour along each axis.

    Source: arXiv 1804.06208; official ``keypoints_from_heatmaps``, ``post_process='default'``.
    Neighbours outside the heatmap repeat the edge: the caller decides what counts at borders.
    """
    height, width = heatmaps.shape[-2:]
    flat = heatmaps.flatten(2)

    def neighbour(dx: int, dy: int) -> Tensor:
        x = (pixels[..., 0] + dx).clamp(0, width - 1)
        y = (pixels[..., 1] + dy).clamp(0, height - 1)
        return flat.gather(2, (y * width + x)[..., None])[..., 0]

    across = neighbour(1, 0) - neighbour(-1, 0)
    along = neighbour(0, 1) - neighbour(0, -1)
    return 0.25 * torch.stack([across, along], -1).sign()

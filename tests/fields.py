"""A Gaussian field that is known, and the matrices that the fast code does without."""

import torch

from abpnet.residuals import ResidualField


def field_of(height, width, length=2.0, white=0.05):
    """Exponential correlations, three channels that share most of their variance, and white noise."""
    down, along = (torch.fft.fftfreq(2 * side, 1 / (2 * side)) for side in (height, width))
    distance = torch.hypot(down[:, None], along[None])
    channels = torch.tensor([[1.0, 0.8, 0.7], [0.8, 1.2, 0.8], [0.7, 0.8, 0.9]])
    covariance = channels[:, :, None, None] * (torch.exp(-distance / length) + white * (distance == 0))
    return ResidualField(torch.fft.rfft2(covariance).real)


def dense(field, height, width):
    """The covariance matrix of all entries."""
    rows, columns = (
        axis.flatten() for axis in torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    )
    matrix = field.covariance[:, :, rows[:, None] - rows, columns[:, None] - columns]
    return matrix.permute(0, 2, 1, 3).flatten(2).flatten(0, 1).double()


def draws_of(field, n, sides, seed=0):
    """Draws (n, channels, *sides)."""
    matrix = dense(field, *sides)
    root = torch.linalg.cholesky(matrix + 1e-6 * torch.eye(len(matrix)))
    white = torch.randn(n, len(root), generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (white @ root.T).float().unflatten(1, (-1, *sides))

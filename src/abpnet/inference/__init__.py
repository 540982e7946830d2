"""Inferential back-propagation: explain an observation away by its latent factors.

Algorithms are functions: the chains' state comes in and goes out, chance comes from a `torch.Generator` or a share of
one (see `chance`). They know the model only through its energy `E(z) = -log p(y, z)`, one number per example, so they
work for any decoder and any observation. Gradients are computed for z alone.
"""

from abpnet.inference.adapting import Adapted, adapt_step_size
from abpnet.inference.energies import Energy, Watch, choose, energy_and_gradient, precondition
from abpnet.inference.hamiltonian_dynamics import Moving, hamiltonian, underdamped
from abpnet.inference.langevin_dynamics import gradient_descent, langevin, langevin_noise, mala
from abpnet.inference.modes import find_mode, ridge
from abpnet.inference.random_walk import metropolis

__all__ = [
    "Adapted",
    "Energy",
    "Moving",
    "Watch",
    "adapt_step_size",
    "choose",
    "energy_and_gradient",
    "find_mode",
    "gradient_descent",
    "hamiltonian",
    "langevin",
    "langevin_noise",
    "mala",
    "metropolis",
    "precondition",
    "ridge",
    "underdamped",
]

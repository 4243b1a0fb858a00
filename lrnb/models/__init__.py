"""The models: families of autoencoders, their training, and the zoo of trained ones."""

from lrnb.models.autoencoder import Autoencoder, Posterior, encode
from lrnb.models.families import FAMILIES, Family
from lrnb.models.profiles import PROFILES, Profile, eps_grid, get_profile
from lrnb.models.zoo import (
    Recipe,
    get_history,
    get_model,
    latent_size,
    load_images,
    recipes,
    train_all,
)  # fmt: skip

__all__ = [
    "FAMILIES", "PROFILES", "Autoencoder", "Family", "Posterior", "Profile", "Recipe", "encode",
    "eps_grid", "get_history", "get_model", "get_profile", "latent_size", "load_images", "recipes",
    "train_all",
]  # fmt: skip

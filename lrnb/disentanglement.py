"""The old path of `lrnb.metrics.disentanglement`, kept for one release."""

import warnings

from lrnb.metrics.disentanglement import DCI, dci, factor_vae, mig, modularity, sap  # noqa: F401

_NOW = "lrnb.disentanglement is now lrnb.metrics.disentanglement"
warnings.warn(_NOW, DeprecationWarning, stacklevel=2)

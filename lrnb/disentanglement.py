"""The old path of `lrnb.metrics.disentanglement`, kept for one release."""

import warnings

from lrnb.metrics.disentanglement import DCI, dci, factor_vae, mig, modularity, sap

__all__ = ["DCI", "dci", "factor_vae", "mig", "modularity", "sap"]

warnings.warn(
    "lrnb.disentanglement is now lrnb.metrics.disentanglement", DeprecationWarning, stacklevel=2
)

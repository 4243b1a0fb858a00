"""What things are called in figures, tables and sentences."""

METRIC_NAMES = {"ssim": "1 − SSIM", "lpips": "LPIPS", "mse": "squared error per pixel"}
DATASET_NAMES = {
    "digits": "Digits", "shapes": "Shapes", "mnist": "MNIST", "fashion_mnist": "FashionMNIST",
    "celeba": "CelebA",
}  # fmt: skip
FAMILY_NAMES = {
    "ae": "AE", "vae": "VAE", "tcvae": "β-TCVAE", "dae_kl": "DAE-KL", "dae_mmd": "DAE-MMD",
    "dae_swt": "DAE-SWT", "vae_adv": "VAE, adversarial",
}  # fmt: skip
SWEEP_NAMES = {"tcvae": "β-TCVAE", "vae": "β-VAE"}  # as β grows, a VAE is a β-VAE
FORM_NAMES = {"trades": "added term", "maxmin": "max–min"}
NORM_NAMES = {"l2": "L2", "linf": "L∞"}
NAMES = (
    DATASET_NAMES
    | FAMILY_NAMES
    | {"ssim": "SSIM", "lpips": "LPIPS", "mse": "squared error"}
    | {"raw": "raw ε", "spread": "ε per spread"}
    | FORM_NAMES
)

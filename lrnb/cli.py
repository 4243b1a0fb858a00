"""The command line: run, compare, build, validate, train, fetch, doctor, models.

What needs torch is imported by the command that uses it, so that help does not wait for it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lrnb import __version__

if TYPE_CHECKING:
    from lrnb._store import Entry


def _split(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[str]:
    return [part for value in given for part in value.replace(",", " ").split()]


def _integers(
    context: click.Context, parameter: click.Parameter, given: tuple[str, ...]
) -> list[int]:
    parts = _split(context, parameter, given)
    if not all(part.isdecimal() for part in parts):
        raise click.BadParameter(f"must be integers, got {', '.join(parts)}")
    return [int(part) for part in parts]


_profile = click.option("--profile", default="quick", show_default=True, metavar="NAME",
                        help="smoke, quick, standard or paper: how big.")  # fmt: skip
_datasets = click.option("--datasets", multiple=True, callback=_split, metavar="NAME[,NAME…]",
                         help="By default the profile's own; `lrnb doctor` lists all.")  # fmt: skip
_seeds = click.option("--seeds", multiple=True, callback=_integers, metavar="K[,K…]",
                      help="By default the profile's own.")  # fmt: skip
_chapters = click.option("--chapters", multiple=True, callback=_split, metavar="NN[,NN…]",
                         help="Beginnings of chapter names; by default all.")  # fmt: skip


class _Commands(click.Group):
    """Known errors are shown as one message, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        try:
            return super().invoke(context)
        except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
            ours = type(error).__module__.startswith("lrnb")
            if isinstance(error, RuntimeError) and not ours:  # click's own, or a fault
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lrnb")
def main() -> None:
    """Adversarial robustness of autoencoders in the latent space: run, build and check the book.

    \b
    Example: run everything on embedded data, then build the book
      lrnb run --profile quick && lrnb build --profile quick
    """
    for name in ("LRNB_DATA", "LRNB_HOME", "TORCH_HOME"):
        if os.environ.get(name):  # notebooks run in another folder
            os.environ[name] = str(Path(os.environ[name]).resolve())


@main.command()
@_profile
@_datasets
@_seeds
@_chapters
@click.option(
    "--in-place",
    is_flag=True,
    help="Put the outputs into the tracked notebooks and results/ as well.",
)
def run(
    profile: str, datasets: list[str], seeds: list[int], chapters: list[str], in_place: bool
) -> None:
    """Execute chapters with papermill into _build/PROFILE/; the tracked notebooks stay as they are.

    A run that was stopped goes on where it was: finished models and attacks are in the store.

    \b
    Example: the first two chapters on MNIST and FashionMNIST
      lrnb run --datasets mnist,fashion_mnist --chapters 01,02
    """
    from lrnb._provenance import project_root
    from lrnb.publish import run as book

    executed = book.run(project_root(), profile=profile, datasets=datasets, seeds=seeds,
                        chosen=chapters, in_place=in_place)  # fmt: skip
    click.echo(f"Executed {len(executed)} chapters into {executed[0].parent}")


@main.command()
@_profile
@click.option("--keep", is_flag=True, help="Write the comparison to results/bench/ as well.")
def compare(profile: str, keep: bool) -> None:
    """Say how closely the run in _build/PROFILE/ agrees with the tables in the repository.

    Made with an empty store, it is the work done again; with the same store, a comparison of its
    tables with themselves. A small run takes the place of a larger one in _build/PROFILE/, so make
    it in a second clone.

    \b
    Example: one data set and seed once more, from nothing
      git clone . again && cd again
      LRNB_HOME=store lrnb run --profile standard --datasets mnist --seeds 0
      lrnb compare --profile standard
    """
    from lrnb import _provenance, _store
    from lrnb.publish.comparison import compare_runs

    root = _provenance.project_root()
    again = root / "_build" / profile / "results" / profile
    found = compare_runs(again, root / "results" / profile)
    click.echo(found.to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    if keep:
        kept = root / "results" / "bench" / "rerun.csv"
        origin = _provenance.environment() | {"profile": profile}
        _store.write_text(kept.with_suffix(".json"), json.dumps(origin, indent=2) + "\n")
        _store.write_text(kept, found.to_csv(index=False, float_format="%.6g"))


@main.command()
@click.option("--profile", default=None, metavar="NAME",
              help="Build the book of this profile's run; without it, the committed one.")  # fmt: skip
def build(profile: str | None) -> None:
    """Build the book's HTML with warnings as errors, and say where to open it.

    \b
    Example: the book of the last quick run
      lrnb build --profile quick
    """
    from lrnb._provenance import project_root
    from lrnb.models import get_profile
    from lrnb.publish import build as builder
    from lrnb.publish.run import stage

    root = project_root()
    source = stage(root, get_profile(profile).name) if profile else root
    click.echo(f"The book is built. Open {builder.build(source).as_uri()}")


@main.command("validate")
@_chapters
def _validate(chapters: list[str]) -> None:
    """Run the chapters at smoke scale under nbval: the facts they print must be those stored.

    \b
    Example: one chapter
      lrnb validate --chapters 02
    """
    from lrnb._provenance import project_root
    from lrnb.publish.build import validate

    click.echo(validate(project_root(), chapters))


@main.command()
@_profile
@_datasets
@_seeds
@click.option("--families", multiple=True, callback=_split, metavar="NAME[,NAME…]",
              help="By default all.")  # fmt: skip
@click.option("--beta", default=1.0, show_default=True, help="Weight of the regularizer.")
@click.option("--jobs", type=int, default=None, help="Models at once; by default one per core.")
def train(
    profile: str,
    datasets: list[str],
    seeds: list[int],
    families: list[str],
    beta: float,
    jobs: int | None,
) -> None:
    """Train models into the store, except those that are there; a stopped training goes on.

    \b
    Example: two families on MNIST, three seeds
      lrnb train --datasets mnist --families vae,ae --seeds 0,1,2
    """
    from lrnb import _progress, _store
    from lrnb.models import FAMILIES, get_profile, recipes, train_all

    size = get_profile(profile)
    chosen = recipes(
        datasets or size.datasets, families or FAMILIES, seeds or size.seeds, beta=beta
    )
    with _progress.share_terminal():
        train_all(chosen, profile, jobs=jobs)
    click.echo(f"{len(chosen)} models are in the store, {_store.store_root()}")


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--net", default="squeeze", show_default=True, help="Backbone: squeeze or alex.")
def fetch(names: tuple[str, ...], net: str) -> None:
    """Download data sets, or the weights of LPIPS (name it "lpips").

    \b
    Example: MNIST and the perceptual metric
      lrnb fetch mnist lpips
    """
    from lrnb import data
    from lrnb._validation import check_name
    from lrnb.metrics.images import BACKBONES, fetch_lpips

    for name in names:
        check_name("names", name, [*data.DATASETS, "lpips"])
    check_name("net", net, BACKBONES)
    for name in names:
        try:
            place = fetch_lpips(net) if name == "lpips" else data.fetch(name)
        except (OSError, RuntimeError) as error:
            hints = {
                "lpips": f"Put torchvision's file {BACKBONES[net]} into $TORCH_HOME/hub/checkpoints.",
                "celeba": "Its host limits downloads: put the aligned images into "
                f"{data.data_root() / 'celeba' / 'img_align_celeba'}, the lists beside that folder.",
            }
            hint = hints.get(name, "Set LRNB_DATA to a folder that holds it.")
            raise click.ClickException(f"{name} was not downloaded: {error}\n{hint}") from error
        embedded = name in data.DATASETS and data.DATASETS[name].files is None
        click.echo(f"{name}: embedded" if embedded else f"{name}: in {place}")


@main.command()
@click.option("--release", is_flag=True,
              help="Fail unless the book can be published: address set, outputs of this code.")  # fmt: skip
def doctor(release: bool) -> None:
    """Report what is installed, which device, data and weights were found, and what is missing.

    \b
    Example:
      lrnb doctor
    """
    from lrnb.publish.doctor import findings

    found = list(findings())
    for good, subject, text, remedy, _ in found:
        line = f"{'ok' if good else '--'}  {subject:15} {text}"
        click.echo(line if good else f"{line}: {remedy}")
    if release and not all(good for good, *_, of_book in found if of_book):
        raise click.ClickException("the book cannot be published yet, see above")


@main.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List what the store holds, with sizes; or remove from it.

    \b
    Example: list, then remove what begins with 3f2a
      lrnb models
      lrnb models remove 3f2a
    """
    if context.invoked_subcommand:
        return
    from lrnb import _store

    held = _store.entries()
    for entry in held:
        click.echo(f"{entry.key}  {entry.kind:7} {entry.size / 1e6:7.2f} MB  {_name(entry)}")
    total = sum(entry.size for entry in held) / 1e6
    click.echo(f"{len(held)} artefacts, {total:.1f} MB, in {_store.store_root()}")


@models.command()
@click.argument("prefix", required=False)
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
def remove(prefix: str | None, everything: bool) -> None:
    """Remove the artefacts whose key begins with PREFIX.

    \b
    Example:
      lrnb models remove 3f2a
    """
    if everything == bool(prefix):
        raise click.UsageError("name either a PREFIX or --all")
    from lrnb import _store

    keys = [entry.key for entry in _store.entries()] if everything else [str(prefix)]
    for gone in (entry for key in keys for entry in _store.remove(key)):
        click.echo(f"removed {gone.key}  {_name(gone)}")


def _name(entry: Entry) -> str:
    from lrnb.models import Recipe

    if "damaged" in entry.spec:
        return "damaged: remove it"
    model = entry.spec.get("model", entry.spec)
    size, table = model["size"], f"{entry.spec['table']}: " if "table" in entry.spec else ""
    scale = f"{size.get('n_train') or 'all'} images × {size['epochs']} epochs"
    return f"{table}{Recipe(**model['recipe'])} ({scale})"

"""The command line: run, plan, compare, build, validate, train, fetch, doctor, models.

What needs torch is imported by the command that uses it, so that help does not wait for it.
"""

import io
import json
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from lrnb import __version__

Names = list[str]


def _listed(flag: str, metavar: str, text: str, kind: type = str) -> Callable[..., Any]:
    """An option of several values, given with commas or by repeating it; ``flag`` may name it too."""

    def split(context: click.Context, parameter: click.Parameter, given: Names) -> list[Any]:
        parts = [part for value in given for part in value.replace(",", " ").split()]
        if kind is int and not all(part.isdecimal() for part in parts):
            raise click.BadParameter(f"must be integers, got {', '.join(parts)}")
        return [kind(part) for part in parts]

    return click.option(*flag.split(), multiple=True, callback=split, metavar=metavar, help=text)


_profile = click.option("--profile", default="quick", show_default=True, metavar="NAME",
                        help="smoke, quick, standard, full or paper: how big.")  # fmt: skip
_all_datasets = "By default the profile's own; `lrnb doctor` lists all."
_datasets = _listed("--datasets", "NAME[,NAME…]", _all_datasets)
_seeds = _listed("--seeds", "K[,K…]", "By default the profile's own.", int)
_engine = click.option("--engine", metavar="ADDRESS",
                       help="local, dask://HOST:PORT or ray://HOST:PORT; by default $LRNB_ENGINE, "
                       "or processes of this machine.")  # fmt: skip
_chapters = _listed("--chapters chosen", "NN[,NN…]", "Beginnings of chapter names; by default all.")


def _of_run(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say what to run, and where."""
    for option in (_engine, _chapters, _seeds, _datasets, _profile):
        command = option(command)
    return command


class _Commands(click.Group):
    """Known errors are shown as one message, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        # asked to end, end as Ctrl-C does: with the processes that were started
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        for stream in (sys.stdout, sys.stderr):  # an encoding without ε shows something else
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            return super().invoke(context)
        except (ValueError, OSError, ArithmeticError, RuntimeError) as error:
            if context.params.get("debug"):
                raise
            ours = type(error).__module__.startswith("lrnb")
            if isinstance(error, RuntimeError) and not ours:  # click's own, or a fault
                raise
            raise click.ClickException(str(error)) from error


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="lrnb")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
def main(debug: bool) -> None:
    """Adversarial robustness of autoencoders in the latent space: run, build and check the book.

    Example: lrnb run --profile quick && lrnb build --profile quick
    """
    for name in ("LRNB_DATA", "LRNB_HOME", "TORCH_HOME"):
        if os.environ.get(name):  # notebooks run in another folder
            os.environ[name] = str(Path(os.environ[name]).expanduser().resolve())


@main.command()
@_of_run
@click.option("--in-place", is_flag=True,
              help="Put the outputs into the tracked notebooks and results/ as well.")  # fmt: skip
def run(in_place: bool, **chosen: Any) -> None:
    """Execute chapters with papermill into _build/PROFILE/; the tracked notebooks stay as they are.

    What the store lacks for them is made first, by as many processes as there are cores or GPUs, or
    on a cluster. A run that was stopped goes on where it was, and a chapter that nothing has changed
    for is not executed again.

    Example: lrnb run --datasets mnist,fashion_mnist --chapters 01,02
    """
    from lrnb._provenance import project_root
    from lrnb.publish import run as book

    executed = book.run(project_root(), in_place=in_place, **chosen)
    click.echo(f"{len(executed)} chapters are in {executed[0].parent}")


@main.command()
@_of_run
def plan(**chosen: Any) -> None:
    """Say what `lrnb run` would have to make, where, and about how long that takes.

    Estimates come from the costs of what the store and results/ hold. An artefact that several
    chapters need stands at the first of them.

    Example: lrnb plan --profile paper --datasets mnist
    """
    from lrnb._provenance import project_root
    from lrnb.publish import plan as planned

    click.echo(planned.report(project_root(), **chosen))


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
    from lrnb.publish.tables import compare_runs

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
@click.option(
    "--profile", metavar="NAME", help="Build this profile's run; without it, the committed book."
)
def build(profile: str | None) -> None:
    """Build the book's HTML with warnings as errors, and say where to open it.

    Example: lrnb build --profile quick
    """
    from lrnb._provenance import project_root
    from lrnb.models import get_profile
    from lrnb.publish import build as builder
    from lrnb.publish.run import alone, stage

    root = project_root()
    with alone(root):
        source = stage(root, get_profile(profile).name) if profile else root
        click.echo(f"The book is built. Open {builder.build(source).as_uri()}")


@main.command()
@_chapters
def validate(chosen: Names) -> None:
    """Run the chapters at smoke scale under nbval: the facts they print must be those stored.

    Example: lrnb validate --chapters 02
    """
    from lrnb._provenance import project_root
    from lrnb.publish import build as builder

    click.echo(builder.validate(project_root(), chosen))


@main.command()
@_profile
@_datasets
@_seeds
@_listed("--families", "NAME[,NAME…]", "By default all.")
@click.option("--beta", default=1.0, show_default=True, help="Weight of the regularizer.")
@click.option("--jobs", type=int, help="Models at once; by default one per core.")
def train(
    profile: str, datasets: Names, seeds: list[int], families: Names, beta: float, jobs: int | None
) -> None:
    """Train models into the store, except those that are there; a stopped training goes on.

    Example: lrnb train --datasets mnist --families vae,ae --seeds 0,1,2
    """
    from lrnb import _progress, _store, models

    size = models.get_profile(profile)
    chosen = models.recipes(
        datasets or size.datasets, families or models.FAMILIES, seeds or size.seeds, beta=beta
    )
    with _progress.share_terminal():
        models.train_all(chosen, profile, jobs=jobs)
    click.echo(f"{len(chosen)} models are in the store, {_store.store_root()}")


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--net", default="squeeze", show_default=True, help="Backbone: squeeze or alex.")
def fetch(names: tuple[str, ...], net: str) -> None:
    """Download data sets, or the weights of LPIPS (name it "lpips").

    Example: lrnb fetch mnist lpips
    """
    from lrnb import data
    from lrnb._validation import check_name
    from lrnb.metrics.images import BACKBONES, fetch_lpips

    for name in names:
        check_name("names", name, [*data.DATASETS, "lpips"])
    check_name("net", net, BACKBONES)
    images = data.data_root() / "celeba" / "img_align_celeba"
    hints = {
        "lpips": f"Put torchvision's file {BACKBONES[net]} into $TORCH_HOME/hub/checkpoints.",
        "celeba": f"Its host limits downloads: put the aligned images into {images}, "
        "the lists beside that folder.",
    }
    for name in names:
        try:
            place = fetch_lpips(net) if name == "lpips" else data.fetch(name)
        except (OSError, RuntimeError) as error:
            hint = hints.get(name, "Set LRNB_DATA to a folder that holds it.")
            raise click.ClickException(f"{name} was not downloaded: {error}\n{hint}") from error
        embedded = name in data.DATASETS and data.DATASETS[name].files is None
        click.echo(f"{name}: embedded" if embedded else f"{name}: in {place}")


@main.command()
@click.option(
    "--release", is_flag=True, help="Fail unless the address is set and outputs are of this code."
)
@click.option("--quick", is_flag=True, help="Only what is known without loading torch.")
def doctor(release: bool, quick: bool) -> None:
    """Report what is installed, which device, data and weights were found, and what is missing.

    Example: lrnb doctor
    """
    from lrnb.publish.doctor import findings

    ready = True
    for good, subject, text, remedy, of_book in findings(quick=quick and not release):
        click.echo(f"ok  {subject:15} {text}" if good else f"--  {subject:15} {text}: {remedy}")
        ready &= good or not of_book
    if release and not ready:
        raise click.ClickException("the book cannot be published yet, see above")


@main.group(invoke_without_command=True)
@click.pass_context
def models(context: click.Context) -> None:
    """List what the store holds, with sizes; or remove from it.

    Example: lrnb models; lrnb models remove 3f2a
    """
    if context.invoked_subcommand:
        return
    from lrnb import _store

    held = _store.entries()
    for entry in held:
        click.echo(f"{entry.key}  {entry.kind:7} {entry.size / 1e6:7.2f} MB  {entry}")
    total = sum(entry.size for entry in held) / 1e6
    click.echo(f"{len(held)} artefacts, {total:.1f} MB, in {_store.store_root()}")


@models.command()
@click.argument("prefix", default="")
@click.option("--all", "everything", is_flag=True, help="Remove everything.")
def remove(prefix: str, everything: bool) -> None:
    """Remove the artefacts whose key begins with PREFIX.

    Example: lrnb models remove 3f2a
    """
    if everything == bool(prefix):
        raise click.UsageError("name either a PREFIX or --all")
    from lrnb import _store

    for gone in _store.remove(prefix):
        click.echo(f"removed {gone.key}  {gone}")

"""The command line: run, compare, build, train, fetch, doctor, models."""

from __future__ import annotations

import importlib.util
import json
import os
import platform
import sys
from pathlib import Path

import click
import torch

from lrnb import __version__, checks, data, experiments, metrics, objectives, provenance, store
from lrnb.progress import shown_on_terminal

_PROFILES = click.Choice(list(experiments.PROFILES))


def _split(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[str]:
    return [part for value in given for part in value.replace(",", " ").split()]


def _whole(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> list[int]:
    try:
        return [int(part) for part in _split(context, parameter, given)]
    except ValueError as error:
        raise click.BadParameter(f"{given} holds something that is no whole number") from error


_profile = click.option(
    "--profile", type=_PROFILES, default="quick", show_default=True, help="How big."
)
_datasets = click.option(
    "--datasets", multiple=True, callback=_split, metavar="NAME[,NAME…]",
    help=f"Of {', '.join(data.DATASETS)}; by default the profile's own.",
)  # fmt: skip
_seeds = click.option(
    "--seeds",
    multiple=True,
    callback=_whole,
    metavar="K[,K…]",
    help="By default the profile's own.",
)
_chapters = click.option(
    "--chapters", multiple=True, callback=_split, metavar="NN[,NN…]",
    help="Beginnings of chapter names; by default all.",
)  # fmt: skip


class _Commands(click.Group):
    """Known errors are shown as one message, without a traceback."""

    def invoke(self, context: click.Context) -> object:
        from lrnb.book import BuildFailed, ChapterFailed, NotValid

        known = (ValueError, OSError, FloatingPointError, BuildFailed, ChapterFailed, NotValid)
        try:
            return super().invoke(context)
        except known as error:
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
    from lrnb import book

    root = book.project_root()
    with shown_on_terminal():
        executed = book.run(
            root,
            profile=profile,
            datasets=datasets,
            seeds=seeds,
            chosen=chapters,
            in_place=in_place,
        )
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
    from lrnb import book
    from lrnb.agreement import agreement

    root = book.project_root()
    again = root / "_build" / profile / "results" / profile
    found = agreement(again, root / "results" / profile)
    click.echo(found.to_string(index=False, float_format=lambda x: f"{x:.4g}"))
    if keep:
        kept = root / "results" / "bench" / "rerun.csv"
        kept.with_suffix(".json").write_text(
            json.dumps(provenance.environment() | {"profile": profile}, indent=2) + "\n",
            encoding="utf-8",
        )
        found.to_csv(kept, index=False, float_format="%.6g")


@main.command()
@click.option(
    "--profile", type=_PROFILES, default=None,
    help="Build the book of this profile's run; without it, the one in the repository.",
)  # fmt: skip
@click.option("--pdf", is_flag=True, help="One PDF instead, printed by Chromium.")
def build(profile: str | None, pdf: bool) -> None:
    """Build the book's HTML with warnings as errors, and say where to open it.

    \b
    Example: the book of the last quick run; the committed one as a PDF
      lrnb build --profile quick
      lrnb build --pdf
    """
    from lrnb import book

    root = book.project_root()
    source = book.stage(root, profile) if profile else root
    page = book.build_pdf(source) if pdf else book.build(source)
    click.echo(f"The book is built. Open {page.as_uri()}")


@main.command()
@_chapters
def validate(chapters: list[str]) -> None:
    """Run the chapters at smoke scale under nbval: the facts they print must be those stored.

    \b
    Example: one chapter
      lrnb validate --chapters 02
    """
    from lrnb import book

    click.echo(book.validate(book.project_root(), chapters))


@main.command()
@_profile
@_datasets
@_seeds
@click.option(
    "--families", multiple=True, callback=_split, metavar="NAME[,NAME…]",
    help=f"Of {', '.join(objectives.FAMILIES)}; by default all.",
)  # fmt: skip
@click.option("--beta", default=1.0, show_default=True, help="Weight of the regulariser.")
@click.option("--jobs", type=int, default=None, help="Models at once; by default one per core.")
def train(
    profile: str,
    datasets: list[str],
    seeds: list[int],
    families: list[str],
    beta: float,
    jobs: int | None,
) -> None:
    """Train models into the store, each unless it is there already; a stopped training goes on.

    \b
    Example: two families on MNIST, three seeds
      lrnb train --datasets mnist --families vae,ae --seeds 0,1,2
    """
    size = experiments.get_profile(profile)
    recipes = [
        experiments.Recipe(dataset=dataset, family=family, beta=beta, seed=seed)
        for dataset in datasets or size.datasets
        for family in families or objectives.FAMILIES
        for seed in seeds or size.seeds
    ]
    with shown_on_terminal():
        experiments.train_all(recipes, profile, jobs=jobs)
    click.echo(f"{len(recipes)} models are in the store, {store.store_root()}")


@main.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--net", type=click.Choice(metrics.LPIPS_NETS), default="squeeze", show_default=True)
def fetch(names: tuple[str, ...], net: str) -> None:
    """Download data sets, or the weights of LPIPS (name it "lpips").

    \b
    Example: MNIST and the perceptual metric
      lrnb fetch mnist lpips
    """
    for name in names:
        checks.one_of("names", name, [*data.DATASETS, "lpips"])
    for name in names:
        try:
            place = metrics.fetch_lpips(net) if name == "lpips" else data.fetch(name)
        except (OSError, RuntimeError) as error:
            hint = {
                "lpips": "Put torchvision's file of these weights, "
                f"{metrics.BACKBONE[net]}, into $TORCH_HOME/hub/checkpoints by hand.",
                "celeba": f"Its host limits downloads: get the aligned images by hand and put them "
                f"into {data.data_root() / 'celeba' / 'img_align_celeba'}, the lists beside it.",
            }.get(name, "Set LRNB_DATA to a folder that holds it.")
            raise click.ClickException(
                f"{name} could not be downloaded: {error}\n{hint}"
            ) from error
        click.echo(f"{name}: in {place}" if name not in data.EMBEDDED else f"{name}: embedded")


@main.command()
@click.option(
    "--release",
    is_flag=True,
    help="Fail unless the book can be published: its address set, its outputs of this very code.",
)
def doctor(release: bool) -> None:
    """Say what is installed, which device, data and weights were found, and what to do about the rest.

    \b
    Example:
      lrnb doctor
    """
    from rich.console import Console
    from rich.table import Table

    table = Table("", "", "found", "what to do", box=None, pad_edge=False)

    def row(good: bool, subject: str, found: str, remedy: str = "") -> None:
        mark = "[green]ok[/]" if good else "[yellow]--[/]"
        table.add_row(mark, subject, found, "" if good else remedy)

    facts = provenance.environment()
    row(sys.version_info >= (3, 10), "Python", platform.python_version(), "use Python 3.10 to 3.13")
    for package in ("lrnb", "torch", "torchvision", "torchmetrics", "lpips"):
        row(facts[package] != "not installed", package, facts[package], f"pip install {package}")
    for module, what in (
        ("papermill", "lrnb run"),
        ("jupyter_book", "lrnb build"),
        ("nbval", "lrnb validate"),
    ):
        there = importlib.util.find_spec(module) is not None
        row(there, module, "installed" if there else "missing", f"needed by `{what}`: make setup")
    row(
        torch.cuda.is_available(),
        "device",
        facts["device"],
        "no GPU: profiles smoke and quick take minutes, standard hours, paper days",
    )
    for name in data.DATASETS:
        where = "embedded" if name in data.EMBEDDED else str(data.data_root())
        there = data.is_present(name)
        row(
            there,
            name,
            where if there else f"not in {where}",
            f"lrnb fetch {name}, or set LRNB_DATA",
        )
    for net in metrics.LPIPS_NETS:
        there = metrics.lpips_is_present(net)
        found = "weights found" if there else "no weights"
        row(there, f"LPIPS ({net})", found, f"lrnb fetch lpips --net {net}, or set TORCH_HOME")
    held = store.entries()
    size = sum(entry.size for entry in held)
    row(True, "store", f"{store.store_root()}: {len(held)} artefacts, {size / 1e6:.1f} MB")
    of_book = _book_rows()
    for good, subject, found, remedy in of_book:
        row(good, subject, found, remedy)
    Console(soft_wrap=True).print(table)
    if release and not all(good for good, *_ in of_book):
        raise click.ClickException("the book cannot be published yet, see above")


def _book_rows() -> list[tuple[bool, str, str, str]]:
    """What publishing needs: the address in every place, and outputs of the present code."""
    from lrnb import book, freshness

    try:
        root = book.project_root()
    except FileNotFoundError:
        return [(False, "book", "not in a clone", "change to one for `lrnb run` and `lrnb build`")]
    url, branch = book.repository(root)
    rows = [
        (
            "your-account" not in url,
            "repository",
            url,
            "set repository.url in _config.yml, and the setup cell of each notebook alike",
        )
    ]
    wanted = f"git+{url}@{branch}"
    for chapter in book.chapters(root):
        if wanted not in chapter.read_text(encoding="utf-8"):
            remedy = f"its setup cell must install from {wanted}, as _config.yml says"
            rows.append((False, chapter.name, "installs lrnb from elsewhere", remedy))
    for found in freshness.check(book.chapters(root)):
        if not found.own:
            rows.append((False, found.notebook, "its code is not what made it", found.refresh))
        elif not found.package:
            made = f"made with {found.made_with}; the package moved on"
            rows.append((False, found.notebook, made, found.refresh))
    return rows


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
    held = store.entries()
    for entry in held:
        click.echo(f"{entry.key}  {entry.kind:7} {entry.size / 1e6:7.2f} MB  {_name(entry)}")
    total = sum(entry.size for entry in held) / 1e6
    click.echo(f"{len(held)} artefacts, {total:.1f} MB, in {store.store_root()}")


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
    keys = [entry.key for entry in store.entries()] if everything else [str(prefix)]
    for gone in (entry for key in keys for entry in store.remove(key)):
        click.echo(f"removed {gone.key}  {_name(gone)}")


def _name(entry: store.Entry) -> str:
    if "damaged" in entry.spec:
        return "damaged: remove it"
    recipe = entry.spec.get("recipe") or entry.spec["model"]["recipe"]
    size = (entry.spec.get("size") if "recipe" in entry.spec else entry.spec["model"]["size"]) or {}
    table = f"{entry.spec['table']}: " if "table" in entry.spec else ""
    scale = f"{size.get('n_train') or 'all'} images × {size.get('epochs')} epochs"
    return f"{table}{experiments.Recipe(**recipe)} ({scale})"


if __name__ == "__main__":
    main()

"""One table or figure of the paper again: from our graphs, runs and protocols, beside the paper's numbers."""
import argparse
import sys
from pathlib import Path
from typing import List, Optional, Sequence, Tuple

from arcface_mxnet.logs import publish
from arcface_mxnet.recognition.reproduction import (  # noqa: F401  (they register)
    benchmark_tables,
    figures,
    head_memory,
    result_figures,
    subcentre_table,
)
from arcface_mxnet.recognition.reproduction.demo_data import Size
from arcface_mxnet.recognition.reproduction.figures import FIGURES, Order, draw, registered
from arcface_mxnet.recognition.reproduction.paper_needs import needs_text
from arcface_mxnet.recognition.reproduction.paper_plan import check_files, paper_plan, together
from arcface_mxnet.recognition.reproduction.paper_runs import BATCH, BENCHMARK_ROWS, OWN_ROWS, SUBJECTS, TABLE2
from arcface_mxnet.recognition.reproduction.photographs import Asked, photographs
from arcface_mxnet.recognition.reproduction.processes import place_to_embed
from arcface_mxnet.recognition.reproduction.provenance import record
from arcface_mxnet.recognition.reproduction.report import PHOTOGRAPHS, write_page
from arcface_mxnet.recognition.reproduction.tables import TABLES
from arcface_mxnet.runtime.arguments import Parser
from arcface_mxnet.runtime.errors import InputError, run_command, unknown
from arcface_mxnet.runtime.locks import claimed
from arcface_mxnet.runtime.progress import progress

OUT, WORK, PAGE = "docs/reproduction", "runs/reproduction", "docs/reproduction.md"
SCALES = ("demo", "paper")
EXAMPLES = """examples:
  python recognition/reproduce.py fig4b
  python recognition/reproduce.py table2 --seeds 0,1,2
  python recognition/reproduce.py all                       (what is done is kept: the same command goes on)
  python recognition/reproduce.py table2 --scale paper --data data --dry-run --measure
  python recognition/reproduce.py table2 --scale paper --data data --engine torch --gpus 0,1,2,3
  python recognition/reproduce.py photographs --model models/model,0 --data data/faces_emore --people lfw112
  python recognition/reproduce.py log y1
"""


def build_parser() -> Parser:
    """The command line."""
    parser = Parser(description=__doc__, epilog=EXAMPLES)
    parser.add_argument("what", help=f"{', '.join([*TABLES, *registered()])}, fig4, all, page, "
                        "photographs, or log")
    parser.add_argument("name", nargs="?", help="with log: the published run")
    parser.add_argument("--scale", default="demo", help="demo: built-in faces, small network; paper: the paper's runs")
    parser.add_argument("--seeds", help="seeds of the runs of a table (default 0,1,2; at paper scale 0)")
    parser.add_argument("--losses", default="", help="table2 and table3: only these loss presets, comma-separated "
                        "(default all)")
    parser.add_argument("--rows", default="", metavar="ROW|ROW", help="Tables 4 to 8 and subcentre: only these rows of "
                        "the paper, by their names (default all)")
    parser.add_argument("--toy-images", type=int, default=1500, help="fig3: images of each identity (default 1500)")
    parser.add_argument("--max-steps", type=int, default=0, help="at most so many steps of each run (default: all)")
    parser.add_argument("--per-batch-size", type=int, default=0, metavar="N",
                        help=f"paper scale: images a device and step, e.g. 64 on eight GPUs (default {BATCH})")
    parser.add_argument("--gpus", default="", help="devices as train.py takes them (default: all at paper scale, the "
                        "CPU at demo scale)")
    parser.add_argument("--engine", default="", help="what trains and embeds, as train.py takes it (default: the first "
                        "that is installed); with torch and several GPUs at paper scale torchrun starts each run")
    parser.add_argument("--dry-run", action="store_true", help="paper scale: print what is needed (files, disk, "
                        "hours), check the files, and train nothing; status 2 where one is missing")
    parser.add_argument("--measure", action="store_true", help="paper scale: the hours from some steps on these "
                        "devices, not from published speeds")
    parser.add_argument("--identities", type=int, default=Size().identities, metavar="N",
                        help="demo scale: people of the drawn training set (default %(default)s); results of another "
                        "size are kept in a folder of their own, e.g. DIR/2000x40, and runs pass over it as often")
    parser.add_argument("--images-per-identity", type=int, default=Size().images, metavar="N",
                        help="and pictures of each (default %(default)s)")
    parser.renamed("--images", to="--images-per-identity")
    parser.add_argument("--jobs", type=int, default=Order.jobs, metavar="N",
                        help="demo scale: runs trained at a time (default %(default)s)")
    parser.add_argument("--network", default="small", help="network preset of the demo runs (default small)")
    parser.add_argument("--data", default="data", metavar="DIR", help="where the published sets' folders are; with "
                        "photographs: the folder of lfw.bin, and of other packs")
    parser.add_argument("--out", default=OUT, metavar="DIR", help=f"where results are written (default {OUT})")
    parser.add_argument("--work", default=WORK, metavar="DIR", help=f"where runs and drawn faces are kept ({WORK})")
    parser.add_argument("--page", default=PAGE, metavar="FILE", help=f"the page of all results (default {PAGE})")
    parser.add_argument("--model", metavar="PREFIX,EPOCH", help="with photographs: the checkpoint to measure")
    parser.add_argument("--people", metavar="PATH", help="with photographs: pictures of LFW's people, a folder for "
                        "each or a .rec, for Table 3 and figure 6 beside those of the pack (may be left out)")
    parser.add_argument("--check", metavar="RUN", help="with log: compare this run directory with the published run")
    return parser


def seeds_of(text: str) -> Tuple[int, ...]:
    """Comma-separated seeds; raises InputError for anything else."""
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise InputError(f"--seeds {text}: give whole numbers, e.g. 0,1,2") from None


def losses_of(text: str) -> Tuple[str, ...]:
    """Comma-separated loss presets of Table 2; raises InputError for one that is none of its rows."""
    names = tuple(part.strip() for part in text.split(",") if part.strip())
    for name in names:
        if name not in {*TABLE2.values(), *OWN_ROWS.values()}:
            raise unknown("loss of table2", name, [*TABLE2.values(), *OWN_ROWS.values()])
    return names


def rows_of(text: str) -> Tuple[str, ...]:
    """Rows of the benchmarks' tables, "|" between them; raises InputError for one that is in none."""
    names = tuple(part.strip() for part in text.split("|") if part.strip())
    for name in names:
        if name not in BENCHMARK_ROWS:
            raise unknown("row", name, BENCHMARK_ROWS)
    return names


def chosen(what: str) -> List[str]:
    """The tables and figures that a name stands for; raises InputError with the known names."""
    known = [*sorted(TABLES, key=lambda name: (name == "subcentre", name)), *registered()]
    if what == "all":
        return known
    if what in known:
        return [what]
    parts = [name for name in registered() if what == "fig4" and name.startswith(what)]
    if not parts:
        raise unknown("table or figure", what, [*known, "fig4", "all", "page", PHOTOGRAPHS, "log"])
    return parts


def reproduce(name: str, order: Order) -> List[Path]:
    """Make one table or figure; returns its files."""
    if name in FIGURES:
        produced = draw(name, order)
        return [*produced.files, record(produced, order.out)]
    return TABLES[name](order).files


def print_plans(names: Sequence[str], order: Order, measure: bool) -> None:
    """Print what each table or figure needs at paper scale; raises InputError when a file of any is missing or bad."""
    plans = []
    for name in names:
        if name not in SUBJECTS:
            sys.stdout.write(f"{name} trains nothing: the same at both scales\n\n")
            continue
        plans.append(paper_plan(name, order.paper, order.work, order.seeds, order.losses))
        sys.stdout.write(plans[-1].text(needs_text(plans[-1], order.work, measure)) + "\n")
        sys.stdout.flush()
    if len(plans) > 1:
        sys.stdout.write(together(plans).heading + "\n" + needs_text(together(plans), order.work, measure) + "\n\n")
    for plan in plans:
        check_files(plan)


def run_log(name: Optional[str], check: Optional[str]) -> int:
    """`log NAME`: the commands of a published run, or with --check its comparison with a run of ours."""
    if name is None:
        raise InputError(f"log: say which published run; known: {', '.join(publish.names())}")
    if check is None:
        sys.stdout.write(publish.published_command(name) + "\n")
        return 0
    text, status = publish.check(name, check)
    sys.stdout.write(text + "\n")
    return status


def main(argv: Optional[Sequence[str]] = None) -> int:
    """Reproduce what was requested; returns 0, or the comparison's status with log --check."""
    flags = build_parser().parse_args(argv)
    if flags.what == "log":
        return run_log(flags.name, flags.check)
    if flags.scale not in SCALES:
        raise unknown("--scale", flags.scale, SCALES)
    seeds = seeds_of(flags.seeds or ("0" if flags.scale == "paper" else "0,1,2"))
    size = Size(flags.identities, flags.images_per_identity)
    drawn = flags.scale == "demo" and flags.what not in ("page", PHOTOGRAPHS)
    out = Path(flags.out) / size.folder if drawn and size != Size() else Path(flags.out)
    order = Order(out, Path(flags.work), flags.scale, flags.network, seeds, flags.max_steps, flags.data,
                  losses_of(flags.losses), rows_of(flags.rows), flags.toy_images, flags.per_batch_size, flags.gpus,
                  flags.engine, size, flags.jobs)
    for flag, given in (("--dry-run", flags.dry_run), ("--measure", flags.measure)):
        if given and order.scale != "paper":
            raise InputError(f"{flag}: for what is trained at paper scale; add --scale paper, or leave it out")
    if flags.dry_run:
        print_plans(chosen(flags.what), order, flags.measure)
        return 0
    with claimed(flags.out):
        return _make(flags, order)


def _make(flags: argparse.Namespace, order: Order) -> int:
    order.out.mkdir(parents=True, exist_ok=True)
    if flags.what == PHOTOGRAPHS:
        if not flags.model:
            raise InputError("photographs: say which model with --model PREFIX,EPOCH")
        asked = Asked(flags.model, Path(order.data), Path(flags.people) if flags.people else None,
                      place_to_embed(order.engine, order.devices))
        produced = photographs(asked, order.out)
        for path in (*produced.files, record(produced, order.out)):
            sys.stdout.write(f"{path}\n")
    elif flags.what != "page":
        names = chosen(flags.what)
        if order.scale == "paper":
            print_plans(names, order, flags.measure)
        for name in progress(names, len(names), "tables and figures", "made"):
            for path in reproduce(name, order):
                sys.stdout.write(f"{path}\n")
    sys.stdout.write(f"{write_page(flags.out, flags.page)}\n")
    return 0


if __name__ == "__main__":
    run_command(main)

"""A model card: what a model hub reads (YAML), then what a person does; data, recipe, accuracies, licences.

What is not known is said to be not stated: nothing is guessed of the data or the terms of a model that came from
elsewhere.
"""
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Dict, List, Mapping, Optional, Sequence, Tuple

from arcface_mxnet.datasets.catalog import TRAINING_SETS
from arcface_mxnet.evaluation.results import markdown, read_results
from arcface_mxnet.recognition.engine.checkpoint import SETTINGS, RunDirectory
from arcface_mxnet.runtime.errors import InputError

NOT_STATED = "not stated"
_DRAWN = "the built-in faces, drawn by a program: of nobody, under the licence of the program"
_LIBRARY, _TASK, _TAGS = "arcface-mxnet", "image-feature-extraction", ("face-recognition", "arcface")


@dataclass(frozen=True)
class Origin:
    """Where a model comes from: its training data and their terms, its recipe, and the licence of its weights."""

    data: str = NOT_STATED
    data_terms: str = NOT_STATED
    recipe: str = NOT_STATED
    licence: str = NOT_STATED


@dataclass(frozen=True)
class Accuracy:
    """One measured figure: per cent on a set."""

    target: str
    percent: float


def origin_of(prefix: str, licence: Optional[str] = None, data_terms: Optional[str] = None) -> Origin:
    """What is known of the model PREFIX: from the run directory it lies in, where it lies in one."""
    folder = Path(prefix).parent
    data = terms = recipe = NOT_STATED
    if (folder / SETTINGS).exists():
        settings, facts = RunDirectory(folder).settings()
        names, published = settings.names, TRAINING_SETS.get(settings.names.dataset)
        data = published.title if published else names.dataset
        terms = published.terms if published else _DRAWN if names.dataset == "demo" else NOT_STATED
        manifest = facts.get("data_manifest")
        data += f", manifest {manifest}" if manifest else ""
        recipe = (f"{names.network}, {names.loss}, {names.recipe or names.dataset}; rate {settings.optimizer.lr:g}, "
                  f"{settings.data.per_batch_size} images a device")
    return Origin(data, data_terms or terms, recipe, licence or NOT_STATED)


def accuracies_of(folders: Sequence[str], digests: Sequence[str]) -> List[Accuracy]:
    """Accuracies in the results of `evaluate verification`; InputError for one measured on another model.

    `digests`: SHA-256 of files of the model, one of which each result must name.
    """
    found: List[Accuracy] = []
    for folder in folders:
        for target, entry in read_results(folder).items():
            model = entry["about"].get("model")
            if not isinstance(model, dict) or not set(map(str, model.values())) & set(digests):
                raise InputError(f"--results {folder}: {target} was measured on another model; measure this one")
            value = entry.get("accuracy")
            if isinstance(value, (int, float)):
                found.append(Accuracy(target, 100.0 * float(value)))
    if folders and not found:
        raise InputError(f"--results {folders[0]}: holds no accuracy; give a result of `evaluate verification`")
    return found


def front_matter(name: str, origin: Origin, accuracies: Sequence[Accuracy]) -> str:
    """The YAML block that model hubs read; values are written as JSON, which YAML contains."""
    fields: Dict[str, Any] = {}
    if origin.licence == NOT_STATED:
        fields.update(license="other", license_name="not-stated")
    else:
        fields["license"] = origin.licence
    fields.update(library_name=_LIBRARY, pipeline_tag=_TASK, tags=list(_TAGS))
    if origin.data != NOT_STATED:
        fields["training_data"] = origin.data
    fields["training_data_terms"] = origin.data_terms
    if accuracies:
        fields["model-index"] = [{"name": name, "results": [
            {"task": {"type": "face-verification"}, "dataset": {"name": one.target, "type": one.target},
             "metrics": [{"type": "accuracy", "value": round(one.percent, 3)}]} for one in accuracies]}]
    lines = "".join(f"{key}: {json.dumps(value, ensure_ascii=False)}\n" for key, value in fields.items())
    return f"---\n{lines}---\n"


def card(name: str, origin: Origin, accuracies: Sequence[Accuracy], rows: Mapping[str, str]) -> str:
    """The whole card in Markdown; `rows` are further lines of its table."""
    said: List[Tuple[str, str]] = [("licence of the weights", origin.licence), ("training data", origin.data),
                                   ("terms of the data", origin.data_terms), ("recipe", origin.recipe)]
    said += [(f"accuracy, {one.target}", f"{one.percent:.2f} %") for one in accuracies]
    table = "".join(f"| {key} | {markdown(value)} |\n" for key, value in said)
    table += "".join(f"| {key} | {value} |\n" for key, value in rows.items())
    return f"{front_matter(name, origin, accuracies)}\n# {name}\n\n| | |\n|---|---|\n{table}"

"""How values inside a printed line are read back."""
import ast
from typing import Any, Dict, List

FLOPS_UNITS = ("", "K", "M", "G", "T")


def read_numbers(text: str) -> List[float]:
    """Numbers separated by commas or spaces; whole ones as integers."""
    return [float(part) if "." in part or "e" in part else int(part) for part in text.replace(",", " ").split()]


def read_truth(text: str) -> bool:
    """A flag printed as True or 1."""
    return text in ("True", "1")


def read_namespace(text: str) -> Dict[str, Any]:
    """The values of a printed argparse Namespace, with those of the dictionary that HEAD prints behind it.

    What is no Python literal is left as text; a line that is no Namespace at all comes back under `unparsed`.
    """
    for end in (place for place, letter in enumerate(text, 1) if letter == ")"):
        try:
            call = ast.parse(f"f{text[:end]}", mode="eval").body
        except SyntaxError:
            continue
        return {**_literal_dict(text[end:]), **_keywords(call, f"f{text[:end]}")}
    return {"unparsed": text}


def _keywords(call: ast.expr, text: str) -> Dict[str, Any]:
    values: Dict[str, Any] = {}
    for keyword in getattr(call, "keywords", []):
        try:
            values[str(keyword.arg)] = ast.literal_eval(keyword.value)
        except ValueError:
            values[str(keyword.arg)] = ast.get_source_segment(text, keyword.value)
    return values


def _literal_dict(text: str) -> Dict[str, Any]:
    try:
        value = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return {}
    return dict(value) if isinstance(value, dict) else {}


def read_flops(text: str) -> int:
    """A count of operations such as 439.8M."""
    unit = text[-1] if text[-1] in FLOPS_UNITS[1:] else ""
    return round(float(text[:len(text) - len(unit)]) * 1000 ** FLOPS_UNITS.index(unit))

"""Whatever a file, a section or a module is cited by name, in code, help and documentation, is there."""
import re
from pathlib import Path
from typing import Dict, Iterator, List, Tuple

import pytest

ROOT = Path(__file__).resolve().parents[1]
INSTALLED = tuple(sorted(link.name for link in (ROOT / "src" / "arcface_mxnet").iterdir() if link.is_dir()))
PACKAGES = (*INSTALLED, "benchmarks", "tests")
OTHER_REPOSITORIES = Path("docs/original.md")  # its paths are those of the original's repository
GENERATED = {"contributing.md": "CONTRIBUTING.md",
             "changelog.md": "CHANGELOG.md", "reference/index.md": "docs/hooks.py"}
HISTORY = Path("CHANGELOG.md")  # it may name what was removed or renamed
PRIVATE = (  # documents and places that a reader of this repository cannot open
    r"\b[Ff]acts,? \(?(?:sections? )?\d", r"[\w/]*(?:_facts|paper_tables|peers|performance)\.md",
    r"(?<!\w)RE?DESIGN\b", r"\.\./shared\b", r"(?<![\w.])/work/")


def read_texts() -> Dict[Path, str]:
    """Every documentation page, module, table and setting of the repository, by its relative path."""
    files = [path for pattern in ("*.md", "*.toml", "*.txt", "*.cff", "Makefile") for path in ROOT.glob(pattern)]
    for folder in (*PACKAGES, "docs"):
        files += [path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".py", ".md", ".json", ".sh"}]
    return {path.relative_to(ROOT): path.read_text(encoding="utf-8") for path in files
            if path != Path(__file__).resolve()}


TEXTS = read_texts()
PAGES = [path for path in TEXTS if path.suffix == ".md"]


def found(pattern: str, text: str) -> Iterator[Tuple[int, "re.Match[str]"]]:
    """Matches with the number of their line; a break of a sentence (in a comment too) counts as one space."""
    joined = re.sub(r"[ \t]*\n[ \t]*(?:#+ )?", lambda gap: "\n" + " " * (len(gap[0]) - 1), text)
    for match in re.finditer(pattern.replace(" ", r"\s+"), joined):
        yield text.count("\n", 0, match.start()) + 1, match


def headings(page: str) -> List[str]:
    """The headings of a page, without those inside code blocks."""
    return re.findall(r"^#+ +(.+?) *$", re.sub(r"^```.*?^```", "", page, flags=re.MULTILINE | re.DOTALL), re.MULTILINE)


def anchors(page: str) -> List[str]:
    """The anchors that the headings of a page get."""
    plain = [re.sub(r"\[([^]]*)\]\([^)]*\)", r"\1", heading) for heading in headings(page)]
    return [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain]


def module(dotted: str) -> bool:
    """Whether a dotted name below arcface_mxnet is a package, a module, or a name written in one."""
    place, parts = ROOT, dotted.split(".")
    for position, part in enumerate(parts):
        if (place / part).is_dir():
            place = place / part
            continue
        source = place / f"{part}.py"
        rest = parts[position + 1:]
        if not source.exists():
            source, rest = place / "__init__.py", parts[position:]
        return source.exists() and all(re.search(rf"\b{name}\b", source.read_text(encoding="utf-8")) for name in rest)
    return True


def test_nothing_private_is_cited():
    left = [f"{path}:{line}: {match[0]}" for path, text in TEXTS.items() for pattern in PRIVATE
            for line, match in found(pattern, text)]
    assert not left, "cite docs/original.md or the public place: " + "; ".join(left)


def test_cited_pages_are_there():
    missing = [f"{path}:{line}: {match[0]}" for path, text in TEXTS.items()
               for line, match in found(r"(?<![\w./-])docs/[\w/.-]+\.(?:md|png|svg)\b", text)
               if not (ROOT / match[0]).exists()]
    assert not missing, missing


def test_cited_sections_of_the_original_are_there():
    known = {re.match(r"[\d.]*\d", heading)[0] for heading in headings(TEXTS[Path("docs/original.md")])
             if re.match(r"\d", heading)}
    number = r"\d+(?:\.\d+)?"
    cited = [(path, line, match) for path, text in TEXTS.items() if path != OTHER_REPOSITORIES
             for line, match in found(rf"original\.md,? sections? {number}(?:(?:, | and | to ){number})*", text)]
    cited += [(OTHER_REPOSITORIES, line, match)
              for line, match in found(rf"\bsections? {number}", TEXTS[OTHER_REPOSITORIES])]
    assert len(cited) > 50
    missing = [f"{path}:{line}: {match[0]}" for path, line, match in cited
               if not set(re.findall(number, match[0])) <= known]
    assert not missing, missing
    bare = [f"{path}:{line}" for path, text in TEXTS.items() if path.suffix == ".py"
            for line, _ in found(r"docs/original\.md(?!,? section)", text)]
    assert not bare, f"name the section of docs/original.md: {bare}"


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_links_of_a_page_lead_somewhere(page):
    text = re.sub(r"^```.*?^```|`[^`\n]*`", "", TEXTS[page], flags=re.MULTILINE | re.DOTALL)
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        other = (ROOT / page).parent / name if name else ROOT / page
        if page.parent == Path("docs") and name in GENERATED:  # docs/hooks.py makes these pages of the site
            other = ROOT / GENERATED[name]
        assert other.exists(), f"{page}: {target}"
        if anchor:
            assert anchor in anchors(other.read_text(encoding="utf-8")), f"{page}: {target}"


def test_files_named_are_there():
    names = "|".join((*PACKAGES, "docs"))
    missing = []
    for path, text in TEXTS.items():
        if path in (OTHER_REPOSITORIES, HISTORY):
            continue
        named = [(line, match[0]) for line, match in
                 found(rf"(?<![\w./-])(?:{names})/[\w/]+\.(?:py|json|csv|sh)\b", text)]
        missing += [f"{path}:{line}: {name}" for line, name in named if not (ROOT / name).exists()]
        bare = [(line, match[1]) for line, match in found(r"`([\w/]+\.py)`", text)]
        missing += [f"{path}:{line}: {name}" for line, name in bare
                    if not any(f"/{other}".endswith(f"/{name}") for other in TEXTS)]
    assert not missing, missing


def test_commands_and_modules_named_in_the_code_are_there():
    packages = "|".join(PACKAGES)
    missing = []
    for path, text in TEXTS.items():
        if path in (OTHER_REPOSITORIES, HISTORY):
            continue
        commands = [(line, match[1]) for line, match in found(rf"\bpython ((?:{packages})/[\w/]+\.py)\b", text)]
        missing += [f"{path}:{line}: {match[0]}: say arcface_mxnet.{match[1]}"
                    for line, match in found(rf"\bpython3? -m ((?:{'|'.join(INSTALLED)})(?:\.\w+)*)", text)]
        names = [(line, match[1]) for line, match
                 in found(r"(?<![\w/.])arcface_mxnet\.((?!__)\w+(?:\.[A-Za-z_]\w*)*)", text)]
        names += [(line, match[1]) for line, match in found(rf"`((?:{packages})(?:\.[A-Za-z_]\w*)+)`", text)
                  if not match[1].endswith((".py", ".json", ".csv", ".md"))]
        missing += [f"{path}:{line}: {name}" for line, name in commands if not (ROOT / name).exists()]
        missing += [f"{path}:{line}: {name}" for line, name in names if not module(name)]
    assert not missing, missing

"""A made-up data root under the published file names, holding tiny built-in sets: what a user's folders look like."""
import shutil
from pathlib import Path
from typing import List

from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.synthetic import write_megaface, write_templates

SETS = ("faces_webface_112x112", "faces_emore", "faces_vgg_112x112", "faces_glint", "faces_emore_asian",
        "ms1m-retinaface-t1", "faces_ms1m_v0", "faces_celeb500k")


def write_paper_root(root: Path, faces: Path) -> Path:
    """Every file that the plans ask for: training sets and packs (all of them `faces`), frames, probes, templates."""
    root.mkdir(parents=True)
    for name in SETS:
        (root / name).symlink_to(faces, target_is_directory=True)
    for name in ("calfw", "cplfw"):
        shutil.copy(faces / "lfw.bin", root / f"{name}.bin")
    with RecordSet.open(faces) as records:
        images = [records.read(key)[1] for key in records.keys.tolist()]
    _write_videos(root / "ytf" / "frames", images)
    people = len(images) // 8
    lines = [f"{split}, {pair}, P{one}/0, P{other}/1, {int(one == other)}" for split in range(1, 11)
             for pair, (one, other) in enumerate([(split % people, split % people),
                                                  (split % people, (split + 1) % people)])]
    (root / "ytf" / "splits.txt").write_text("split, pair, first, second, same\n" + "\n".join(lines) + "\n")
    _write_clips(root / "iqiyi_vid", images)
    _write_identification(root)
    for target, first, second in (("IJBC", "G1", "G2"), ("IJBB", "S1", "S2")):
        write_templates(root / f".{target}", identities=4, images=4, seed=3)
        (root / f".{target}" / "IJBC").rename(root / target)
        for path in sorted((root / target / "meta").iterdir()):
            path.rename(path.with_name(path.name.replace("ijbc", target.lower()).replace("G1", first)
                                       .replace("G2", second)))
    return root


def _write_videos(folder: Path, images: List[bytes]) -> None:
    """Two videos of two frames of everybody (eight images each): folder/P<n>/<video>/<frame>.jpg."""
    for person in range(len(images) // 8):
        for frame in range(4):
            path = folder / f"P{person}" / str(frame // 2) / f"{frame}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(images[8 * person + frame])


def _write_clips(folder: Path, images: List[bytes]) -> None:
    for part, frames in (("train", (0, 1, 2, 3)), ("test", (4, 5, 6, 7))):
        labels = []
        for person in range(len(images) // 8):
            name = f"{part}{person:03d}"
            (folder / f"{part}_frames" / name).mkdir(parents=True)
            for frame in frames:
                (folder / f"{part}_frames" / name / f"{frame}.jpg").write_bytes(images[8 * person + frame])
            labels.append(f"{name} {person if person < len(images) // 8 - 1 else 0}")
        (folder / f"{part}_labels.txt").write_text("\n".join(labels[1:]) + "\n")


def _write_identification(root: Path) -> None:
    """MegaFace's two folders, lists and noise lists, and the same images as probes and gallery of Trillion-Pairs."""
    made = write_megaface(root / ".megaface", identities=4, images=3, distractors=10, seed=3, workers=1)
    for path in sorted(made.iterdir()):
        path.rename(root / path.name)
    probes = (root / "facescrub_lst").read_text().split()
    (root / "facescrub_noises.txt").write_text(Path(probes[0]).name + "\n")
    distractors = (root / "megaface_lst").read_text().split()
    (root / "megaface_noises.txt").write_text(distractors[0] + "\n")
    folder = root / "trillionpairs"
    (folder / "images").mkdir(parents=True)
    for kind in ("facescrub_images", "megaface_images"):
        shutil.copytree(root / kind, folder / "images" / kind)
    (folder / "probe_list.txt").write_text("".join(f"facescrub_images/{name}\n" for name in probes))
    (folder / "probe_ids.txt").write_text("".join(f"{name.split('/')[0]}\n" for name in probes))
    (folder / "gallery_list.txt").write_text("".join(f"megaface_images/{name}\n" for name in distractors))

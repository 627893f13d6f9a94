"""From images to a whole record set: every source, every form, interrupted, and from bad input."""
import os
import signal
import subprocess
import sys
import time
import zipfile

from arcface_mxnet.datasets import manifest, prepare, record_writer
from arcface_mxnet.datasets.align import REFERENCE_112
from arcface_mxnet.datasets.build import build
from arcface_mxnet.datasets.image_sources import open_source
from arcface_mxnet.datasets.records import RecordSet
from arcface_mxnet.datasets.whole_folder import whole_folder
from arcface_mxnet.runtime.errors import InputError

import cv2
import numpy as np
import pytest


@pytest.fixture
def photos(tmp_path, picture):
    """photos/PERSON/N.jpg: three people, a path with spaces and letters beyond ASCII, and a file that is no image."""
    for identity, (person, count) in enumerate([("Ann Lee", 2), ("Zoë Ångström", 3), ("bob", 1)]):
        (tmp_path / "photos" / person).mkdir(parents=True)
        for number in range(count):
            cv2.imwrite(str(tmp_path / "photos" / person / f"{number} x.jpg"), picture(identity, number))
    (tmp_path / "photos" / "notes.txt").write_text("about these")
    return tmp_path / "photos"


def contents(folder):
    """{label: [bytes, ...]} of a set."""
    with RecordSet.open(folder) as records:
        found = {}
        for key in records.keys.tolist():
            label, encoded = records.read(key)
            found.setdefault(label, []).append(encoded)
    return found


def test_a_folder_of_identities(photos, tmp_path, capsys):
    assert prepare.main(["build", str(photos), str(tmp_path / "out")]) == 0
    assert contents(tmp_path / "out") == {label: [path.read_bytes() for path in sorted((photos / person).iterdir())]
                                          for label, person in enumerate(["Ann Lee", "Zoë Ångström", "bob"])}
    assert (tmp_path / "out" / "identities.tsv").read_text() == "0\tAnn Lee\n1\tZoë Ångström\n2\tbob\n"
    assert (tmp_path / "out" / "property").read_text() == "3,112,112\n"
    printed = capsys.readouterr().out
    assert manifest.check(tmp_path / "out") in printed and "notes.txt" in printed
    assert manifest.read(tmp_path / "out")["parts"]["record_set"]["source"] == str(photos)
    assert sorted(os.listdir(tmp_path)) == ["out", "photos"]


@pytest.mark.parametrize("suffix", [".zip", ".tar"])
def test_an_archive_gives_the_same_records(photos, tmp_path, suffix):
    import shutil
    shutil.make_archive(str(tmp_path / "packed"), suffix[1:], tmp_path, "photos")
    build(open_source(photos), tmp_path / "one")
    build(open_source(tmp_path / f"packed{suffix}"), tmp_path / "two")
    assert (tmp_path / "one" / "train.rec").read_bytes() == (tmp_path / "two" / "train.rec").read_bytes()


@pytest.mark.parametrize("form", ["2018", "im2rec"])
def test_both_list_forms_in_any_order(photos, tmp_path, form):
    lines = []
    for label, person in enumerate(sorted(path.name for path in photos.iterdir() if path.is_dir())):
        for path in sorted((photos / person).iterdir()):
            inside = f"{person}/{path.name}"
            lines.append(f"1\t{inside}\t{label}" if form == "2018" else f"{len(lines)}\t{label}.000000\t{inside}")
    lines = lines[::2] + lines[1::2]
    (tmp_path / "train.lst").write_text("\n".join(lines) + "\n", encoding="utf-8")
    assert prepare.main(["build", str(tmp_path / "train.lst"), str(tmp_path / "out"), "--root", str(photos)]) == 0
    build(open_source(photos), tmp_path / "folder")
    assert {label: sorted(images) for label, images in contents(tmp_path / "out").items()} == \
        {label: sorted(images) for label, images in contents(tmp_path / "folder").items()}


@pytest.mark.parametrize("lines,message", [
    (["0\t0\ta/1.jpg", "1\ta/2.jpg\t0"], "line 2 has label and path swapped"),
    (["1\ta/1.jpg\t0", "1\t0\ta/2.jpg"], "line 2 has label and path swapped"),
    (["1\t0\ta/1.jpg", "1\t0\ta/2.jpg"], "line 2 has the index 1 of line 1.*label and path are swapped"),
    (["7\ta/1.jpg\t0"], "line 1 begins with '7' where aligned is 0 or 1"),
    (["1\ta/1.jpg\tann"], "line 1 has label 'ann'"),
    (["1\ta/1.jpg\t0.5"], "line 1 has label '0.5'"),
    (["1\ta/1.jpg\t-1"], "line 1 has label '-1'"),
    (["1\ta/1.jpg\t0", "1\ta/2.jpg\t2"], "no image has label 1.*--renumber"),
    (["1\ta/1.jpg\t1"], "no image has label 0"),
    (["1\ta/1.jpg\t0", "1\ta/../a/1.jpg\t0"], "line 2 names a/../a/1.jpg again .line 1 did"),
    (["1\ta/none.jpg\t0"], "line 1: .*none.jpg: not found.*--root"),
    (["1 a/1.jpg 0"], "line 1: 1 columns separated by tabs in .*the form is"),
    (["1\ta/1.jpg\t0\t5"], "line 1: 4 columns"),
    (["1\ta/1.jpg\t0\t1\t2\tx\t4"], "a box or points: 'x' is not a number"),
    (["0\t0\t1\ta/1.jpg"], "4 columns .*the form is `index label path`"),
    (["0\ta/1.jpg\t0"], "is marked as not aligned and has no points; add --detector"),
    ([], "train.lst: empty"),
])
def test_a_bad_list_names_its_line(tmp_path, picture, lines, message):
    (tmp_path / "a").mkdir()
    for number in (1, 2):
        cv2.imwrite(str(tmp_path / "a" / f"{number}.jpg"), picture(0, number))
    (tmp_path / "train.lst").write_text("".join(line + "\n" for line in lines))
    with pytest.raises(InputError, match=message) as caught:
        prepare.main(["build", str(tmp_path / "train.lst"), str(tmp_path / "out")])
    assert "\n" not in str(caught.value) and not (tmp_path / "out").exists()


def test_gaps_close_on_request(tmp_path, picture):
    for number, label in enumerate((4, 9, 4)):
        cv2.imwrite(str(tmp_path / f"{number}.jpg"), picture(label, number))
    (tmp_path / "train.lst").write_text("1\t0.jpg\t4\n1\t1.jpg\t9\n1\t2.jpg\t4\n")
    prepare.main(["build", str(tmp_path / "train.lst"), str(tmp_path / "out"), "--renumber"])
    assert {label: len(images) for label, images in contents(tmp_path / "out").items()} == {0: 2, 1: 1}
    assert (tmp_path / "out" / "identities.tsv").read_text() == "0\t4\n1\t9\n"


def jpeg_of(image):
    return cv2.imencode(".jpg", image)[1].tobytes()


def spoil(photos, how):
    victim = photos / "bob" / "0 x.jpg"
    if how == "empty":
        victim.write_bytes(b"")
    elif how == "text":
        victim.write_bytes(b"not a picture")
    elif how == "cut off":
        victim.write_bytes(victim.read_bytes()[:-300])
    elif how == "size":
        cv2.imwrite(str(victim), np.zeros((50, 60, 3), dtype=np.uint8))
    elif how == "loose":
        victim.rename(photos / "loose.jpg")
    elif how == "unreadable":
        victim.unlink()
        victim.symlink_to("nowhere.jpg")


@pytest.mark.parametrize("how,message", [
    ("empty", "bob/0 x.jpg is empty"), ("text", "bob/0 x.jpg its 13 bytes begin as no image"),
    ("cut off", "bob/0 x.jpg is cut off"), ("size", r"bob/0 x.jpg is 50x60, not 112x112; .*--resize"),
    ("loose", "loose.jpg lies in no identity's folder"), ("unreadable", "0 x.jpg: is a link to nowhere")])
def test_an_unusable_image_is_named_and_nothing_appears(photos, tmp_path, how, message):
    spoil(photos, how)
    with pytest.raises(InputError, match=message):
        build(open_source(photos), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_unusable_images_are_listed_on_request_and_labels_stay_whole(photos, tmp_path):
    spoil(photos, "text")
    (photos / "Ann Lee" / "1 x.jpg").write_bytes(b"")
    build(open_source(photos), tmp_path / "out", skip=True)
    assert {label: len(images) for label, images in contents(tmp_path / "out").items()} == {0: 1, 1: 3}
    listed = (tmp_path / "out" / "skipped.tsv").read_text().splitlines()
    assert [line.split("\t")[0] for line in listed] == ["Ann Lee/1 x.jpg", "bob/0 x.jpg"]
    assert (tmp_path / "out" / "identities.tsv").read_text() == "0\tAnn Lee\n1\tZoë Ångström\n"


def test_crops_of_another_scale_and_other_formats(tmp_path, picture):
    (tmp_path / "in" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "in" / "a" / "1.png"), picture(0, 0))
    cv2.imwrite(str(tmp_path / "in" / "a" / "2.bmp"), picture(0, 1))
    cv2.imwrite(str(tmp_path / "in" / "a" / "3.jpg"), picture(0, 2, 224))
    build(open_source(tmp_path / "in"), tmp_path / "out", resize=True)
    png, bmp, large = contents(tmp_path / "out")[0]
    assert png == (tmp_path / "in" / "a" / "1.png").read_bytes()
    for encoded, number in ((bmp, 1), (large, 2)):
        assert encoded.startswith(b"\xff\xd8")
        decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), 1)
        assert decoded.shape == (112, 112, 3) and np.abs(decoded.astype(int) - picture(0, number)).mean() < 4


def test_alignment_is_asked_for_each_image_and_named_in_the_manifest(photos, tmp_path, picture):
    asked = []

    def find(name, bgr):
        asked.append(name)
        return [] if name.startswith("bob") else [REFERENCE_112 + (5, 3), REFERENCE_112]
    with pytest.raises(InputError, match="bob/0 x.jpg shows no face that was found"):
        build(open_source(photos), tmp_path / "out", find=find)
    build(open_source(photos), tmp_path / "two", find=find, alignment="by hand", skip=True)
    first = cv2.imdecode(np.frombuffer(contents(tmp_path / "two")[0][0], np.uint8), 1)
    assert np.abs(first[:100, :100].astype(int) - picture(0, 0)[3:103, 5:105]).mean() < 4
    assert manifest.read(tmp_path / "two")["parts"]["record_set"]["alignment"] == "by hand"
    assert (tmp_path / "two" / "skipped.tsv").read_text().startswith("bob/0 x.jpg\tshows no face")
    assert sorted(set(asked)) == sorted(open_source(photos).names)


def test_a_list_brings_its_own_points(tmp_path, picture):
    cv2.imwrite(str(tmp_path / "a.jpg"), picture(0, 0))
    cv2.imwrite(str(tmp_path / "b.jpg"), picture(0, 1))
    moved = (REFERENCE_112 + (5, 3)).T.reshape(-1)
    points = "\t".join(f"{value:.4f}" for value in moved)
    (tmp_path / "train.lst").write_text(f"0\ta.jpg\t0\t0\t0\t9\t9\t{points}\n1\tb.jpg\t0\n")
    assert prepare.main(["build", str(tmp_path / "train.lst"), str(tmp_path / "out")]) == 0
    aligned, kept = contents(tmp_path / "out")[0]
    first = cv2.imdecode(np.frombuffer(aligned, np.uint8), 1)
    assert np.abs(first[:100, :100].astype(int) - picture(0, 0)[3:103, 5:105]).mean() < 4
    assert kept == (tmp_path / "b.jpg").read_bytes()
    assert manifest.read(tmp_path / "out")["parts"]["record_set"]["alignment"] == "five points of the list"


@pytest.mark.parametrize("flags", [["--detector", "scrfd"], ["--detector-model", "x"],
                                   ["--points", "p", "--detector", "scrfd", "--detector-model", "x"]])
def test_alignment_flags_go_together(photos, tmp_path, flags):
    with pytest.raises(InputError, match="--detector KIND together with --detector-model"):
        prepare.main(["build", str(photos), str(tmp_path / "out"), *flags])


@pytest.mark.parametrize("name,message", [("../outside/x.jpg", "leads outside"), ("/etc/x.jpg", "leads outside"),
                                          ("C:\\x\\y.jpg", "leads outside"), ("a\\..\\..\\y.jpg", "leads outside")])
def test_a_zip_that_leads_outside_is_refused(tmp_path, name, message):
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr("a/1.jpg", b"x")
        archive.writestr(name, b"x")
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / "evil.zip")


@pytest.mark.parametrize("suffix", ["zip", "tar"])
def test_an_archive_that_holds_a_path_twice_is_refused(tmp_path, suffix):
    import io
    import tarfile
    place = tmp_path / f"twice.{suffix}"
    if suffix == "zip":
        with pytest.warns(UserWarning), zipfile.ZipFile(place, "w") as archive:
            archive.writestr("a/1.jpg", b"x")
            archive.writestr("a/1.jpg", b"y")
    else:
        with tarfile.open(place, "w") as archive:
            for _ in range(2):
                member = tarfile.TarInfo("a/1.jpg")
                member.size = 1
                archive.addfile(member, io.BytesIO(b"x"))
    with pytest.raises(InputError, match="a/1.jpg is in it twice"):
        open_source(place)


def test_a_damaged_member_of_a_zip_is_named_and_can_be_skipped_where_the_build_stopped(photos, tmp_path):
    import shutil
    shutil.make_archive(str(tmp_path / "packed"), "zip", tmp_path, "photos")
    place = tmp_path / "packed.zip"
    with zipfile.ZipFile(place) as archive:
        member = next(one for one in archive.infolist() if one.filename.endswith("ström/1 x.jpg"))
    damaged = bytearray(place.read_bytes())
    damaged[member.header_offset + 30 + len(member.filename.encode()) + 200] ^= 255
    place.write_bytes(damaged)
    with pytest.raises(InputError, match="ström/1 x.jpg cannot be read .damaged in the archive"):
        build(open_source(place), tmp_path / "out")
    assert not (tmp_path / "out").exists()
    build(open_source(place), tmp_path / "out", skip=True)  # the same images: goes on
    assert [len(images) for images in contents(tmp_path / "out").values()] == [2, 2, 1]
    assert len((tmp_path / "out" / "skipped.tsv").read_text(encoding="utf-8").splitlines()) == 1


def test_a_build_begun_with_skip_is_not_ended_without(photos, tmp_path, monkeypatch):
    (photos / "Ann Lee" / "0 x.jpg").write_bytes(b"no image")
    monkeypatch.setattr(record_writer.PartialSet, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        build(open_source(photos), tmp_path / "out", skip=True)
    monkeypatch.undo()
    with pytest.raises(InputError, match="was begun with --skip and left out .*0 x.jpg"):
        build(open_source(photos), tmp_path / "out")
    build(open_source(photos), tmp_path / "out", skip=True)
    assert [len(images) for images in contents(tmp_path / "out").values()] == [1, 3, 1]


def test_links_in_archives_are_refused(tmp_path):
    import tarfile
    link = zipfile.ZipInfo("a/link.jpg")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(tmp_path / "evil.zip", "w") as archive:
        archive.writestr(link, "/etc/passwd")
    with tarfile.open(tmp_path / "evil.tar", "w") as archive:
        member = tarfile.TarInfo("a/link.jpg")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(member)
    for name in ("evil.zip", "evil.tar"):
        with pytest.raises(InputError, match="a/link.jpg is a link"):
            open_source(tmp_path / name)


@pytest.mark.parametrize("name,make,message", [
    ("in", lambda path: path.mkdir(), "holds no image"), ("in", lambda path: None, "not found"),
    ("in", lambda path: path.write_bytes(b"what"), "neither a folder nor"),
    ("in.tar.gz", lambda path: path.write_bytes(b"\x1f\x8bwhat"), "no uncompressed tar")])
def test_other_sources_are_refused(tmp_path, name, make, message):
    make(tmp_path / name)
    with pytest.raises(InputError, match=message):
        open_source(tmp_path / name)


def test_an_output_that_exists_is_left_alone(photos, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("keep")
    with pytest.raises(InputError, match="exists already"):
        build(open_source(photos), tmp_path / "out")
    assert (tmp_path / "out" / "mine").read_text() == "keep"


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_stopped_build_goes_on_to_the_same_bytes(photos, tmp_path, monkeypatch, stop):
    build(open_source(photos), tmp_path / "whole", threads=1)
    monkeypatch.setattr(record_writer, "SECONDS_BETWEEN_JOURNALS", -1.0)
    source = open_source(photos)
    read, source.read = source.read, lambda number: (_ for _ in ()).throw(stop) if number == 5 else read(number)
    monkeypatch.setattr("arcface_mxnet.datasets.build._CHUNK", 1)
    if isinstance(stop, OSError):  # a full disk stops the writer, not the reader
        source.read = read
        add = record_writer.PartialSet.add
        monkeypatch.setattr(record_writer.PartialSet, "add", lambda self, label, *rest:
                            (_ for _ in ()).throw(stop) if label == 2 else add(self, label, *rest))
    with pytest.raises(type(stop)):
        build(source, tmp_path / "out", threads=1)
    assert not (tmp_path / "out").exists()
    monkeypatch.undo()
    again = open_source(photos)
    numbers = []
    read_again, again.read = again.read, lambda number: numbers.append(number) or read_again(number)
    build(again, tmp_path / "out", threads=1)
    assert numbers == [5], "only what was missing is read again"
    for name in ("train.rec", "train.idx", "property", "train.crc", "identities.tsv"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(os.listdir(tmp_path)) == ["out", "photos", "whole"]


def stopped(photos, out):
    """A build that stopped at bob's only image, the last: Ann Lee and Zoë are in."""
    good = (photos / "bob" / "0 x.jpg").read_bytes()
    spoil(photos, "text")
    with pytest.raises(InputError, match="bob/0 x.jpg"):
        build(open_source(photos), out)
    return good


@pytest.mark.parametrize("repair", ["restored", "replaced", "removed", "more"])
def test_a_build_goes_on_once_the_image_it_stopped_at_is_repaired(photos, tmp_path, picture, repair, monkeypatch):
    good = stopped(photos, tmp_path / "out")
    victim = photos / "bob" / "0 x.jpg"
    if repair == "removed":
        victim.unlink()
    else:
        victim.write_bytes(good if repair == "restored" else jpeg_of(picture(2, 5)))
    if repair == "more":
        (photos / "carl").mkdir()
        (photos / "carl" / "1.jpg").write_bytes(good)
    build(open_source(photos), tmp_path / "whole")
    read = []
    source = open_source(photos)
    one = source.read
    source.read = lambda number: (read.append(source.names[number]), one(number))[1]
    build(source, tmp_path / "out")
    assert all(name.startswith(("bob", "carl")) for name in read), "what is in is not read again"
    for name in ("train.rec", "train.idx", "train.crc", "identities.tsv", "property"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert not (tmp_path / "out.partial").exists()


def test_an_image_that_was_left_out_but_not_passed_yet_is_looked_at_again(photos, tmp_path, monkeypatch):
    """With --skip, stopped within Zoë's images after her second one was found unusable; it is repaired meanwhile."""
    build(open_source(photos), tmp_path / "whole")
    victim = photos / "Zoë Ångström" / "1 x.jpg"
    good = victim.read_bytes()
    victim.write_bytes(b"")
    add = record_writer.PartialSet.add

    def second_stops(self, label, *more):
        if label:
            raise KeyboardInterrupt
        add(self, label, *more)
    monkeypatch.setattr(record_writer.PartialSet, "add", second_stops)
    with pytest.raises(KeyboardInterrupt):
        build(open_source(photos), tmp_path / "out", skip=True)
    monkeypatch.undo()
    victim.write_bytes(good)
    build(open_source(photos), tmp_path / "out", skip=True)
    assert (tmp_path / "out" / "train.rec").read_bytes() == (tmp_path / "whole" / "train.rec").read_bytes()
    assert not (tmp_path / "out" / "skipped.tsv").exists()


@pytest.mark.parametrize("change", ["changed", "added", "gone", "grown"])
def test_another_input_does_not_go_on_with_it(photos, tmp_path, picture, change):
    """An image that is in already changed or went; one came before, or to a person whose images are all in."""
    good = stopped(photos, tmp_path / "out")
    (photos / "bob" / "0 x.jpg").write_bytes(good)
    first = photos / "Ann Lee" / "0 x.jpg"
    if change == "changed":
        first.write_bytes(good)
    elif change == "gone":
        first.unlink()
    else:
        (photos / ("Ann Lee" if change == "added" else "Zoë Ångström") / "9.jpg").write_bytes(good)
    with pytest.raises(InputError, match="unfinished build of other images"):
        build(open_source(photos), tmp_path / "out")


def test_a_folder_that_is_no_unfinished_build_is_left_alone(photos, tmp_path):
    (tmp_path / "two.partial").mkdir()
    (tmp_path / "two.partial" / "train.rec").write_bytes(b"mine")
    with pytest.raises(InputError, match="is no unfinished build"):
        build(open_source(photos), tmp_path / "two")
    assert (tmp_path / "two.partial" / "train.rec").read_bytes() == b"mine"


def test_a_killed_build_goes_on_to_the_same_bytes(tmp_path, picture):
    """SIGKILL in the middle of a build in another process, several times."""
    for identity in range(150):
        (tmp_path / "in" / f"{identity:03}").mkdir(parents=True)
        for number in range(4):
            cv2.imwrite(str(tmp_path / "in" / f"{identity:03}" / f"{number}.jpg"), picture(identity, number))
    build(open_source(tmp_path / "in"), tmp_path / "whole")
    slow = ("import sys, time; from arcface_mxnet.datasets import build, record_writer, prepare\n"
            "record_writer.SECONDS_BETWEEN_JOURNALS = 0.02\n"
            "one = build._Preparing.__call__\n"
            "build._Preparing.__call__ = lambda self, number: time.sleep(0.002) or one(self, number)\n"
            "prepare.main(sys.argv[1:])\n")
    journal = tmp_path / "out.partial" / "journal.json"
    command = [sys.executable, "-c", slow, "build", str(tmp_path / "in"), str(tmp_path / "out"), "--threads", "1"]
    seen = set()
    for _ in range(2):
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        begun = {journal.read_bytes() if journal.exists() else b""}
        while process.poll() is None and (not journal.exists() or journal.read_bytes() in begun or len(begun) < 4):
            begun.add(journal.read_bytes() if journal.exists() else b"")
            time.sleep(0.01)
        assert process.poll() is None, "finished before it was killed"
        process.send_signal(signal.SIGKILL)
        process.wait()
        seen.add(manifest.read_json(journal)["next_image"])
    assert len(seen) == 2 and min(seen) > 0 and not (tmp_path / "out").exists()
    build(open_source(tmp_path / "in"), tmp_path / "out")
    for name in ("train.rec", "train.idx", "train.crc"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()


def test_a_disk_that_is_full_to_the_end_names_the_folder(photos, tmp_path, monkeypatch):
    """What is written on the way out fails as well, and must not hide what failed first."""
    def full(*_):
        raise OSError(28, "No space left on device")
    for method in ("add", "note", "close"):
        monkeypatch.setattr(record_writer.PartialSet, method, full)
    with pytest.raises(OSError) as caught:
        build(open_source(photos), tmp_path / "out")
    assert caught.value.filename == str(tmp_path / "out.partial")


def test_an_error_in_a_hidden_folder_names_the_one_asked_for(tmp_path):
    with pytest.raises(OSError) as caught, whole_folder(tmp_path / "out") as staging:
        raise OSError(28, "No space left on device", str(staging / "train.rec"))
    assert caught.value.filename == str(tmp_path / "out") and not list(tmp_path.iterdir())

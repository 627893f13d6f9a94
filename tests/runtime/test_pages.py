"""Pages: text from elsewhere is escaped, nothing is loaded, each has what keyboards and screen readers need."""
import re

from arcface_mxnet.runtime import pages

import jinja2
import pytest

EVIL = "<script>alert(1)</script>\"' &"
VALUES = {
    "live.html": {"title": EVIL, "state": EVIL, "refresh": 5, "figure": pages.Markup("<svg></svg>"), "alt": EVIL,
                  "report": EVIL},
    "report.html": {"title": EVIL, "rows": [{"figure": EVIL, "ours": EVIL, "data": [EVIL], "model": []}],
                    "columns": [{"name": name, "number": False} for name in ("figure", "ours", "data", "model")],
                    "sections": [{"title": EVIL, "anchor": "a", "protocol": EVIL, "figures": [(EVIL, EVIL)],
                                  "pictures": [{"url": pages.data_url(b"x", "image/png"), "alt": EVIL}],
                                  "provenance": []}]},
    "review.html": {"title": EVIL, "intro": EVIL, "identity": EVIL, "questions": [
        {"title": EVIL, "doubts": [{"key": 1, "drop": True, "text": EVIL,
                                    "picture": {"key": 1, "url": "", "alt": EVIL}}],
         "typical": [(EVIL, [{"key": 2, "url": pages.data_url(b"x", "image/png"), "alt": EVIL}])], "pair": "1,2",
         "joined": True}]},
}


@pytest.mark.parametrize("name", sorted(path.name for path in pages.FOLDER.glob("*.html") if path.name != "base.html"))
def test_a_page_is_safe_whole_and_reachable(name, tmp_path):
    text = pages.render(name, **VALUES[name])
    pages.write(tmp_path / name, name, **VALUES[name])
    assert (tmp_path / name).read_text() == text
    assert "alert(1)</script>" not in text and "&lt;script&gt;alert(1)" in text
    assert set(re.findall(r'(?:src|href)="([^"#:]*)', text)) <= {"", "data"}
    for wanted in ('<html lang="en">', "prefers-color-scheme: dark", '<a class="skip" href="#content">'):
        assert wanted in text
    assert all(re.search(r' alt="[^"]+"', tag) for tag in re.findall(r"<img[^>]*>", text))
    with pytest.raises(jinja2.UndefinedError):
        pages.render(name)


def test_what_the_review_page_keeps_and_saves():
    text = pages.render("review.html", **VALUES["review.html"])
    assert re.search(r'value="undecided" checked', text) and "position: sticky" in text
    assert "localStorage.setItem(kept" in text and "max-width" not in text
    assert 'value="same"' in text and "proposed: one person" in text

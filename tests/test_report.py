import base64
import re
from html.parser import HTMLParser

import pytest

from abpnet import report

HOSTILE = "<script>alert(1)</script> & \"quotes\" 'too'"


class Reader(HTMLParser):
    """Collects the tags with their attributes and the text of a page."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.texts = [], []
        self.feed(page)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.texts.append(data)


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "picture.png"
    path.write_bytes(bytes(range(256)))
    return path


@pytest.mark.parametrize("part", [report.paragraph, report.preformatted])
def test_plain_text_comes_out_as_it_went_in(part):
    reader = Reader(part(HOSTILE))
    assert "".join(reader.texts) == HOSTILE
    assert [tag for tag, _ in reader.tags] == ["p" if part is report.paragraph else "pre"]


def test_picture_is_embedded_whole_with_its_caption_escaped(png):
    reader = Reader(report.picture(png, HOSTILE))
    assert [tag for tag, _ in reader.tags] == ["figure", "img", "figcaption"]
    attributes = reader.tags[1][1]
    kind, _, content = attributes["src"].partition(",")
    assert kind == "data:image/png;base64"
    assert base64.b64decode(content) == png.read_bytes()
    assert attributes["alt"] == HOSTILE
    assert "".join(reader.texts) == HOSTILE
    assert "class" not in attributes


def test_pixelated_picture_says_so(png):
    assert Reader(report.picture(png, "tiny", pixelated=True)).tags[1][1]["class"] == "pixels"


def test_table_shows_figures_short_dashes_for_none_and_our_row_in_bold():
    rows = [
        {"method": "mean fill", "error": 0.123456, "rank": None, "n": 123456},
        {"method": "abpnet", "error": 1e-7, "rank": 40, "n": 2},
    ]
    reader = Reader(report.table(rows, ours="abpnet"))
    cells = ["method", "error", "rank", "n", "mean fill", "0.1235", "-", "123456", "abpnet", "1e-07", "40", "2"]
    assert reader.texts == cells
    assert [attributes for tag, attributes in reader.tags if tag == "tr"] == [{}, {}, {"class": "ours"}]


def test_table_escapes_heads_and_cells():
    page = report.table([{HOSTILE: HOSTILE}])
    assert Reader(page).texts == [HOSTILE, HOSTILE]
    assert "<script" not in page


def test_page_is_self_contained_and_escaped(tmp_path, png):
    path = tmp_path / "report.html"
    parts = [report.paragraph("see https://example.org"), report.picture(png, "c"), report.table([{"a": 1}])]
    report.write_report(path, HOSTILE, {"Results " + HOSTILE: parts, "Ü": [report.preformatted("x")]})
    page = path.read_text(encoding="utf-8")
    reader = Reader(page)
    assert page.startswith("<!doctype html>")
    for tag, attributes in reader.tags:
        assert tag not in ("script", "link", "iframe", "base")
        for name in ("src", "href", "srcset", "action", "data"):
            assert attributes.get(name, "data:").startswith("data:")
    assert not re.search(r"@import|url\(", report.STYLE)
    headings = [text for text in reader.texts if text in (HOSTILE, "Results " + HOSTILE, "Ü")]
    assert headings == [HOSTILE, HOSTILE, "Results " + HOSTILE, "Ü"]  # title and h1, then the sections in order
    assert ("meta", {"charset": "utf-8"}) in reader.tags


def test_small_sounds_are_inside_the_page_and_large_ones_beside_it(tmp_path, monkeypatch):
    folder = tmp_path / "samples"
    folder.mkdir()
    path = folder / "a sound&.wav"
    path.write_bytes(b"RIFF 0123456789")
    tag, attributes = Reader(report.audio(path, HOSTILE, tmp_path)).tags[1]
    assert tag == "audio"
    assert "controls" in attributes
    kind, _, content = attributes["src"].partition(",")
    assert kind == "data:audio/wav;base64"
    assert base64.b64decode(content) == path.read_bytes()
    monkeypatch.setattr(report, "LARGEST_AUDIO", 14)
    reader = Reader(report.audio(path, HOSTILE, tmp_path))
    assert reader.tags[1][1]["src"] == "samples/a%20sound%26.wav"
    assert HOSTILE in reader.texts

"""The report: one page that holds everything and asks for nothing."""

import json
import shutil
import subprocess
from html.parser import HTMLParser

import pytest

from fkdiff.cli import main, page

PNG = bytes.fromhex(
    "89504e470d0a1a0a0000000d4948445200000001000000010806000000"
    "1f15c4890000000d49444154789c6360606060000000050001a5f645400000000049454e44ae426082"
)


class Strict(HTMLParser):
    """Collects what a page refers to, and refuses tags that are never closed."""

    VOID = ("meta", "img", "line", "circle", "polyline")

    def __init__(self):
        super().__init__()
        self.open, self.references, self.tags, self.words = [], [], [], []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attributes:
            assert not name.startswith("on"), name
            if name in ("src", "href", "action", "data", "srcset", "xlink:href"):
                self.references.append(value)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def parsed(text):
    parser = Strict()
    parser.feed(text)
    parser.close()
    assert not parser.open
    return parser


@pytest.fixture
def run(tmp_path):
    folder = tmp_path / "digits"
    (folder / "samples").mkdir(parents=True)
    (folder / "config.yaml").write_text("data: {kind: digits}\n# <script>alert(1)</script>\n")
    rows = [{"step": k, "loss": 1 / k, "held_out": 1.1 / k, "<b>": 3} for k in (1, 10, 100)]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "metrics.jsonl").write_text(lines + '{"step": 4, "lo')
    for file in ("samples.png", "samples/step_00000050.png"):
        (folder / file).write_bytes(PNG)
    row = {"name": "MMD", "value": 0.04, "error": None, "floor": 0.03, "floor_error": 0.01, "note": "of <i>all</i>"}
    (folder / "evaluation.json").write_text(json.dumps({"step": 100, "rows": [row]}))
    steered = tmp_path / "guided"
    steered.mkdir()
    case = {"case": "class 3", "law": "q²", "log_z": 1.5, "log_z_standard_error": 0.1, "min_ess": 30.2}
    case |= {"num_particles": 64, "evaluations": 99, "doubts": ["R = 3 exceeds 2"]}
    (steered / "summary.json").write_text(json.dumps({"cases": [case]}))
    (steered / "samples.png").write_bytes(PNG)
    return folder, steered


def test_a_page_holds_everything_and_refers_to_nothing_outside(run):
    folder, steered = run
    assert main(["report", str(folder), "--steered", str(steered)]) == 0
    text = (folder / "report.html").read_text()
    found = parsed(text)
    assert all(reference.startswith("data:image/png;base64,") for reference in found.references)
    assert len(found.references) == 3
    assert not {"script", "link", "iframe", "object", "base", "form"} & set(found.tags)
    assert "http" not in text.replace("http-equiv", "")
    words = " ".join(found.words)
    for piece in (
        "MMD",
        "0.04",
        "0.03 ± 0.01",
        "class 3",
        "1.500 ± 0.1",
        "R = 3 exceeds 2",
        "At step 50.",
        "training loss",
    ):
        assert piece in words, piece
    assert "<script>alert(1)</script>" in words  # as text


def test_a_run_that_has_only_begun_has_a_page_too(tmp_path):
    (tmp_path / "config.yaml").write_text("seed: 0\n")
    assert main(["report", str(tmp_path)]) == 0
    assert "seed: 0" in " ".join(parsed((tmp_path / "report.html").read_text()).words)


def test_what_is_no_run_or_no_steering_result_is_refused(run, tmp_path, capsys):
    folder, _ = run
    (tmp_path / "empty").mkdir()
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "no config.yaml" in capsys.readouterr().err
    assert main(["report", str(folder), "--steered", str(tmp_path / "empty")]) == 2
    assert "no summary.json" in capsys.readouterr().err
    (folder / "evaluation.json").write_text('{"rows": [{"name": "MMD"}]}')
    assert main(["report", str(folder)]) == 2
    assert "not what fkdiff writes" in capsys.readouterr().err


def test_curves_stay_inside_their_frame():
    drawn = page.curves({"a": [(0, 1.0), (5, 100.0)], "b": [(2, 3.0)]}, 720, 260)
    found = Strict()
    found.feed(drawn)
    assert found.tags.count("polyline") == 2
    points = [p.split(",") for line in drawn.split('points="')[1:] for p in line.split('"')[0].split()]
    assert all(60 <= float(x) <= 710 and 10 <= float(y) <= 230 for x, y in points)
    assert page.curves({}) == ""


BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.mark.skipif(BROWSER is None, reason="no headless browser here")
def test_a_browser_shows_it_without_complaint(run, tmp_path):
    folder, steered = run
    assert main(["report", str(folder), "--steered", str(steered)]) == 0
    words = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", "--v=0"]
    words += [f"--screenshot={tmp_path / 'shot.png'}", (folder / "report.html").as_uri()]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
    assert (tmp_path / "shot.png").stat().st_size > 1000
    assert "CONSOLE" not in done.stderr

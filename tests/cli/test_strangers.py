"""Strangers' files run no code, read nothing beside them, reach nobody, and end in one line. Slow: one long process."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("strangers")
    words = [sys.executable, str(Path(__file__).with_name("strangers.py")), str(folder)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=600, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout)


def cases(found, *kinds):
    return {name: facts for name, facts in found.items() if name.split(":")[0] in kinds}


def test_every_hostile_file_is_refused_in_one_line_and_little_time(found):
    assert len(cases(found, "config")) >= 30
    assert len(cases(found, "run")) >= 10
    for name, facts in cases(found, "config", "name", "run", "report").items():
        assert facts["code"] == 2, (name, facts)
        assert facts["said"].count("\n") == 1, (name, facts)
        assert facts["said"].startswith("fkdiff: "), (name, facts)
        assert facts["said"][:-1].isprintable(), (name, facts)
        assert facts["seconds"] <= 10, (name, facts)
    for name, facts in cases(found, "info").items():
        assert facts["code"] in (0, 2), (name, facts)


def test_nothing_was_run_read_reached_or_written(found):
    for name, facts in cases(found, "config", "name", "run", "report", "info").items():
        assert facts["seen"] == [], (name, facts)
    assert found["written"] == ["data", "secret.npy", "work"]
    assert not found["never"]


def test_memory_stays_bounded(found):
    assert found["megabytes"] <= 2000


def test_honest_files_are_not_refused(found):
    assert not [name for name in found if name.split(":")[0] in ("honest", "arrays", "pictures", "table", "zipped")]
    assert not [name for name in found if name.startswith("warm")]


def test_the_watch_sees_what_it_should():
    """A planted breach of every kind is reported."""
    script = """
import sys, json
sys.argv = ["strangers.py", "/nowhere"]
sys.path.insert(0, PLACE)
from pathlib import Path
import strangers
watch = strangers.Watch([Path(sys.prefix).resolve(), Path(sys.base_prefix).resolve()])
watch.seen = []
open("/etc/hostname")
exec("1")
import subprocess; subprocess.run(["true"])
import socket; socket.gethostname()
import pickle; pickle.loads(pickle.dumps(Path("x")))
seen, watch.seen = watch.seen, None
print(json.dumps(seen))
"""
    place = repr(str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", script.replace("PLACE", place)], capture_output=True, text=True, check=False
    )
    seen = " ".join(json.loads(done.stdout))
    for kind in ("open /etc/hostname", "exec", "subprocess.Popen", "socket.gethostname", "pickle.find_class"):
        assert kind in seen, (kind, seen)

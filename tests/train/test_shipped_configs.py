"""Every config that is shipped trains, is sampled and is judged, in a few steps each. Slow: it compiles them all."""

from pathlib import Path

import pytest

from fkdiff.cli import cache, main

CONFIGS = sorted((Path(__file__).parents[2] / "configs").glob("*.yaml"))
SMOKE = ["--optim.steps", "3", "--optim.batch_size", "8", "--sampling.num_samples", "16", "--sampling.num_steps", "2"]


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=lambda path: path.stem)
def test_a_shipped_config_trains(config, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cache, "enable_cache", lambda: None)
    assert main(["train", str(config), "--dry-run", *SMOKE]) == 0
    assert main(["train", str(config), "--out", str(tmp_path / "run"), *SMOKE]) == 0
    assert main(["sample", str(tmp_path / "run"), "--out", str(tmp_path / "drawn"), "--num", "2"]) == 0
    assert main(["eval", str(tmp_path / "run"), "--num", "16", "--likelihoods", "2"]) == 0
    assert main(["report", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "report.html").stat().st_size > 1000
    assert "nan" not in capsys.readouterr().out

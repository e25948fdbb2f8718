"""A dozen cells of the conformance table, and every refusal; `python -m benchmarks.conformance` has the whole of it."""

import re

import numpy as np
import pytest

from benchmarks import conformance

QUICK = [
    ("FeynmanKac", "adaptive ramp"),
    ("chain", "wall"),
    ("anneal", "adaptive ramp"),
    ("tokens", "rewarded"),
]
SLOW = [
    ("inverse, adapted", "rewarded"),
    ("anneal, noise 1", "rewarded, rejuvenated"),
    ("tempering", "rewarded"),
    ("twisted", "rewarded"),
    ("product", "rewarded"),
    ("finite steps", "draws"),
    ("anneal, frozen", "twice"),
    ("Population", "frozen"),
    ("tilt", "max"),
]
SOURCES = conformance.sources()


def cells():
    yield from (pytest.param(*cell, id=" | ".join(cell)) for cell in QUICK)
    yield from (pytest.param(*cell, id=" | ".join(cell), marks=pytest.mark.slow) for cell in SLOW)


@pytest.mark.parametrize(("source", "combinator"), list(cells()))
def test_the_law_of_a_cell(source, combinator):
    found = conformance.cell(SOURCES[source], combinator)
    print(found)
    assert found["counts"], "nothing was resampled, or the ramp did not vary"
    assert found["right"]


@pytest.mark.parametrize("source", ["tokens", pytest.param("anneal", marks=pytest.mark.slow)])
def test_drivers_agree(source):
    here = SOURCES[source]
    model = conformance.smc.rewarded(here.model(), conformance.jump)
    assert conformance.drivers(model, here.grid) == dict.fromkeys(("drive", "replicate", "run_each", "chunk"), True)
    assert conformance.on_host(here.model(), here.grid)


@pytest.mark.slow
@pytest.mark.parametrize("source", ["chain", "anneal, frozen"])
def test_conditional_sweeps_keep_the_rewarded_law(source):
    found = conformance.conditional(SOURCES[source])
    print(found)
    assert found["right"]


@pytest.mark.parametrize("case", conformance.refusals())
def test_a_refusal_says_what_to_do(case):
    wrong, words, _ = conformance.refusals()[case]
    with pytest.raises(conformance.fk.FkdiffError, match=re.escape(words)):
        wrong()


@pytest.mark.slow
@pytest.mark.parametrize("case", conformance.refusals())
def test_what_a_refusal_says_works(case):
    assert conformance.refused(conformance.refusals()[case])


def test_a_wrong_law_is_seen(monkeypatch):
    """The planted bug: a reward that is not settled at the end."""
    settle = conformance.smc.Rewarded.settle

    def unsettled(self, particles, log_weights, answers, t, last):
        return (particles, 0.0 * log_weights) if last else settle(self, particles, log_weights, answers, t, last)

    monkeypatch.setattr(conformance.smc.Rewarded, "settle", unsettled)
    conformance.jax.clear_caches()
    found = conformance.cell(SOURCES["FeynmanKac"], "terminal")
    conformance.jax.clear_caches()
    assert not found["right"]
    assert np.isfinite(found["largest_gap_in_errors"])

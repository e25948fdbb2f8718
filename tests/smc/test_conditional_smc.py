"""One sweep from the exact law leaves the exact law, at N = 2; sweeps move; planted bugs are rejected."""

import contextlib
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
from fkdiff import smc
from fkdiff.core import Status
from fkdiff.errors import FkdiffError
from fkdiff.smc.drivers import retained, sweep
from fkdiff.smc.resamplers import ancestors
from tests.smc import path_chain as chain

KEY = jax.random.key(0)
SCHEMES = list(retained.RETAINING)


FAST = [("multinomial", "trace", 2), ("systematic", "trace", 3), ("systematic", "ancestor", 2)]
CASES = list(itertools.product(SCHEMES, ["trace", "ancestor", "backward"], [2, 3]))


@pytest.mark.parametrize(
    "resample, renew, num_particles",
    [case if case in FAST else pytest.param(*case, marks=pytest.mark.slow) for case in CASES],
)
def test_one_sweep_leaves_the_law_of_paths(resample, renew, num_particles):
    info = chain.check_invariance(num_particles, scheme=resample, renew=renew)
    renewed = np.asarray(info.renewed).mean(axis=0)
    # An invariance test passes for a kernel that never moves.
    assert renewed[-1] >= 0.25 * (num_particles - 1)
    assert renewed.min() >= (0.03 if renew == "trace" else 0.1)
    assert np.asarray(info.ess).min() >= 1 - 1e-5


@contextlib.contextmanager
def rejected():
    with pytest.raises(AssertionError, match=r"χ²|E\[Z/Ẑ\]"):
        yield


def changed_advance(change):
    right = sweep.Sweep.advance

    def advance(self, key, particles, log_weights, number, t0, t1, reference):
        return change(lambda ref: right(self, key, particles, log_weights, number, t0, t1, ref), reference)

    return advance


def weight_of_slot_0(value):
    def change(right, reference):
        moved, increments, chosen, status = right(reference)
        return moved, increments.at[0].set(value(increments)), chosen, status

    return changed_advance(change)


TRACE_MUTANTS = {
    "reference not kept": ("advance", changed_advance(lambda right, reference: right(None))),
    "reference weight forgotten": ("advance", weight_of_slot_0(lambda l: jnp.float32(0))),
    "reference weighs as the others": ("advance", weight_of_slot_0(lambda l: l[1:].mean())),
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", TRACE_MUTANTS)
def test_wrong_references(monkeypatch, bug):
    monkeypatch.setattr(sweep.Sweep, *TRACE_MUTANTS[bug])
    with rejected():
        chain.check_invariance(3)


@pytest.mark.slow
def test_final_draw_uniform(monkeypatch):
    right = sweep._pick
    monkeypatch.setattr(sweep, "_pick", lambda key, logits: right(key, jnp.zeros_like(logits)))
    with rejected():
        chain.check_invariance(3)


def unconditional(key, log_weights, parent):
    return ancestors.systematic_ancestors(jax.random.uniform(key), log_weights)


SYSTEMATIC_MUTANTS = {
    "reference resampled away": unconditional,
    "put back into slot 0": lambda *args: unconditional(*args).at[0].set(0),
    "points from slot 0's arc, but not around the circle": lambda key, l, parent: jnp.minimum(
        retained.systematic(key, l, parent), jnp.roll(retained.systematic(key, l, parent), 1)
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("bug", SYSTEMATIC_MUTANTS)
def test_wrong_conditional_systematic(monkeypatch, bug):
    monkeypatch.setitem(retained.RETAINING, "systematic", SYSTEMATIC_MUTANTS[bug])
    with rejected():
        chain.check_invariance(3, scheme="systematic")


@pytest.mark.slow
@pytest.mark.parametrize("renew", ["ancestor", "backward"])
@pytest.mark.parametrize("bug", ["potential forgotten", "weights forgotten"])
def test_wrong_links(monkeypatch, renew, bug):
    right = sweep.Sweep.link

    def link(self, particles, log_weights, particle, t0, t1):
        if bug == "weights forgotten":
            return right(self, particles, jnp.zeros_like(log_weights), particle, t0, t1)
        return log_weights + jax.vmap(lambda before: self.log_transition(before, particle, t0, t1))(particles)

    monkeypatch.setattr(sweep.Sweep, "link", link)
    with rejected():
        chain.check_invariance(3, renew=renew)


@pytest.mark.slow
@pytest.mark.parametrize("bug", ["density of another step", "old parent's weight"])
def test_wrong_ancestor_sampling(monkeypatch, bug):
    right = sweep.Sweep.advance

    def advance(self, key, particles, log_weights, number, t0, t1, held):
        moved, increments, after, chosen, status = right(self, key, particles, log_weights, number, t0, t1, held)
        old = self.model.log_potential(jax.tree.map(lambda leaf: leaf[0], particles), held[0], t0, t1)
        return moved, increments, after.at[0].set(old), chosen, status

    if bug == "old parent's weight":
        monkeypatch.setattr(sweep.Sweep, "advance", advance)
    else:
        correct = chain.log_transition
        monkeypatch.setattr(chain, "log_transition", lambda a, b, t0, t1: correct(a, b, (t0 + 1) % 3, t1))
    with rejected():
        chain.check_invariance(3, renew="ancestor")


@pytest.mark.parametrize("resample", SCHEMES)
def test_retained_ancestors_have_the_right_law(resample):
    """Drawing the parent from W gives every slot the marginal W, and the dead are never chosen."""
    weights = np.array([0.0, 0.4, 0.05, 0.0, 0.3, 0.25, 0.0])
    log_weights = jnp.log(jnp.asarray(weights, jnp.float32))

    def one(key):
        parent = jax.random.categorical(jax.random.fold_in(key, 0), log_weights).astype(jnp.int32)
        return parent, retained.RETAINING[resample](jax.random.fold_in(key, 1), log_weights, parent)

    num = 2**15
    parent, chosen = (np.asarray(a) for a in jax.jit(jax.vmap(one))(jax.random.split(KEY, num)))
    assert np.array_equal(parent, chosen[:, 0])
    for slot in range(7):
        share = np.bincount(chosen[:, slot], minlength=7) / num
        assert (share[weights == 0] == 0).all()
        bound = 6 * np.sqrt(weights * (1 - weights) / num)
        assert np.all(np.abs(share - weights) <= bound), (slot, share)
    if resample == "systematic":
        counts = np.stack([(chosen == j).sum(axis=1) for j in range(7)], axis=1)
        assert np.abs(counts - 7 * weights).max() <= 1 + 1e-5


@pytest.mark.slow
@pytest.mark.parametrize(
    "renew",
    [pytest.param("trace", marks=pytest.mark.slow), "ancestor", pytest.param("backward", marks=pytest.mark.slow)],
)
def test_smoothing_law_of_a_linear_gaussian_chain(renew):
    model, grid = chain.gaussian_model(5)
    mean, covariance = chain.smoothing(5)
    paths = np.random.default_rng(3).multivariate_normal(mean, covariance, size=2**15)
    start = smc.Trajectory(jnp.asarray(paths, jnp.float32), jnp.zeros(len(paths)))
    density = None if renew == "trace" else chain.gaussian_log_transition
    kernel = smc.conditional(model, grid, 4, scheme="systematic", log_transition=density, renew=renew)
    after, info = chain.sweeps(kernel, start, 4)
    chain.check_gaussian(after.particles, mean, covariance)
    renewed = np.asarray(info.renewed).mean(axis=0)
    assert renewed[-1] >= 0.5  # three of four particles are new
    assert renewed.min() >= (0.02 if renew == "trace" else 0.1)  # one observation is far out
    moved = np.asarray(after.particles) != np.asarray(start.particles)
    assert np.array_equal(moved, np.asarray(info.renewed))


@pytest.mark.slow
def test_a_wrong_start_is_forgotten():
    model, grid = chain.gaussian_model(5)
    start = smc.Trajectory(jnp.full((2**13, 6), 4.0), jnp.zeros(2**13))
    kernel = smc.conditional(model, grid, 8, scheme="systematic", log_transition=chain.gaussian_log_transition)
    mean, covariance = chain.smoothing(5)
    with pytest.raises(AssertionError, match="off by"):
        chain.check_gaussian(chain.sweeps(kernel, start, 5)[0].particles, mean, covariance)
    chain.check_gaussian(chain.sweeps(kernel, start, 6, num_sweeps=20)[0].particles, mean, covariance)


@pytest.mark.slow
def test_ancestor_sampling_renews_the_early_path():
    """25 steps, 5 particles: how often a sweep leaves the reference at time 0, and how well it forgets it."""
    model, grid = chain.gaussian_model(25)
    mean, covariance = chain.smoothing(25)
    paths = np.random.default_rng(3).multivariate_normal(mean, covariance, size=2**11)
    start = smc.Trajectory(jnp.asarray(paths, jnp.float32), jnp.zeros(len(paths)))
    share, memory = {}, {}
    for renew in ("trace", "ancestor", "backward"):
        density = None if renew == "trace" else chain.gaussian_log_transition
        kernel = smc.conditional(model, grid, 5, scheme="multinomial", log_transition=density, renew=renew)
        after, info = chain.sweeps(kernel, start, 4)
        share[renew] = float(np.asarray(info.renewed)[:, 0].mean())
        memory[renew] = float(np.corrcoef(paths[:, 0], after.particles[:, 0])[0, 1])
    print({name: (round(share[name], 3), round(memory[name], 3)) for name in share})
    assert share["trace"] <= 0.15
    assert min(share["ancestor"], share["backward"]) >= 0.6
    assert memory["trace"] >= 0.8
    assert max(memory["ancestor"], memory["backward"]) <= 0.5


@pytest.mark.slow
def test_steered_trajectories_agree_with_weighted_plain_draws():
    path = fk.paths.variance_preserving()
    pred = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(path)
    solver, grid = fk.solvers.ddim(eta=1.0), fk.grid(8, path)

    def reward(x):
        return -((x[0] - 0.5) ** 2) / 2

    plain = np.asarray(fk.integrate(jax.random.key(9), pred, solver, grid, 2**16))[:, 0]
    w = np.exp(-((plain - 0.5) ** 2) / 2)
    truth = (w @ plain) / w.sum()
    floor = np.sqrt(np.sum((w * (plain - truth)) ** 2)) / w.sum()
    model = fk.steer(pred, solver, reward)
    kernel = smc.conditional(model, grid, 4, scheme="systematic")
    burn, kept = 20, 60

    @jax.jit
    def one(key):
        state = kernel.init(key, smc.trajectory(jax.random.fold_in(key, 0), model, grid, 4))

        def body(state, key):
            state, info = kernel.step(key, state)
            return state, (state.position.particles.state.x[-1, 0], info.renewed.mean(), info.status)

        return jax.lax.scan(body, state, jax.random.split(jax.random.fold_in(key, 1), burn + kept))[1]

    x, renewed, status = (np.asarray(a) for a in jax.jit(jax.vmap(one))(jax.random.split(KEY, 512)))
    assert (status == 0).all()
    averages = x[:, burn:].mean(axis=1)
    error = np.sqrt(averages.var(ddof=1) / len(averages) + floor**2)
    print(f"{averages.mean():.4f} for {truth:.4f} ± {error:.4f}; untilted {plain.mean():.4f}; {renewed.mean():.2f}")
    assert abs(averages.mean() - truth) <= 5 * error
    assert abs(plain.mean() - truth) >= 10 * error
    assert renewed.mean() >= 0.3


def test_plain_trajectories_approach_the_law():
    draw = jax.vmap(lambda key: smc.trajectory(key, chain.CHAIN, chain.GRID, 256))
    states = np.asarray(jax.jit(draw)(jax.random.split(KEY, 2**11)).particles["state"])
    for k in range(chain.STEPS + 1):
        for s in range(3):
            exact = chain.LAW[chain.PATHS[:, k] == s].sum()
            assert abs((states[:, k] == s).mean() - exact) <= 6 * np.sqrt(exact * (1 - exact) / 2**11) + 2 / 256


@pytest.mark.slow
def test_chunk_changes_no_bit_and_a_key_decides():
    position = jax.tree.map(lambda leaf: leaf[0], chain.exact_positions(1, 0))
    steps = [eqx.filter_jit(smc.conditional(chain.CHAIN, chain.GRID, 7, chunk=chunk).step) for chunk in (None, 2)]
    for seed in range(3):
        a, b = (step(jax.random.key(seed), smc.ConditionalState(position)) for step in steps)
        assert all(np.array_equal(x, y) for x, y in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True))


@pytest.mark.parametrize(
    "value, status", [(-jnp.inf, Status.EXTINCT), (jnp.nan, Status.NAN), (jnp.inf, Status.INFINITE)]
)
def test_where_weights_define_no_law_the_trajectory_stays(value, status):
    model, grid = chain.gaussian_model(4)
    broken = smc.FeynmanKac(model.draw, model.propose, lambda a, b, t0, t1: jnp.where(jnp.round(t0) == 2, value, 0.0))
    position = smc.Trajectory(jnp.arange(5.0), jnp.zeros(()))
    kernel = smc.conditional(broken, grid, 4, log_transition=chain.gaussian_log_transition)
    state, info = kernel.step(KEY, kernel.init(KEY, position))
    assert int(info.status) == status
    assert np.array_equal(state.position.particles, position.particles)
    assert not info.renewed.any()


def test_an_impossible_reference_is_left():
    model, grid = chain.gaussian_model(4)
    bounded = smc.FeynmanKac(model.draw, model.propose, lambda a, b, t0, t1: jnp.where(b < 50, 0.0, -jnp.inf))
    kernel = smc.conditional(bounded, grid, 4)
    state, info = kernel.step(KEY, kernel.init(KEY, smc.Trajectory(jnp.full(5, 99.0), jnp.zeros(()))))
    assert int(info.status) == Status.OK
    assert bool(info.renewed[-1])
    assert float(state.position.particles[-1]) < 50


MODEL = chain.CHAIN


@pytest.mark.parametrize(
    "change, sentence",
    [
        (
            {"model": smc.Population(lambda: 0, lambda: 0)},
            "a Population moves its particles together, and conditional SMC",
        ),
        ({"num_particles": 1}, "num_particles=1 must be a whole number of at least 2"),
        ({"grid": [1.0, 0.0]}, "grid must increase strictly"),
        ({"scheme": "systemtic"}, 'scheme="systemtic" is not one of multinomial, systematic; did you mean'),
        ({"renew": "ancestor"}, r'renew="ancestor" draws new ancestors by the density of propose; pass log_transition'),
        ({"renew": "forward"}, 'renew="forward" is not one of trace, ancestor, backward'),
        ({"log_transition": 3}, "log_transition=3 is not a function"),
        ({"chunk": 0}, "chunk=0 must be None or|chunk=0 must be a whole number"),
    ],
)
def test_wrong_arguments_are_refused_in_a_sentence(change, sentence):
    arguments = {"model": MODEL, "grid": chain.GRID, "num_particles": 3} | change
    with pytest.raises(FkdiffError, match=sentence):
        smc.conditional(**arguments)


def test_wrong_positions_are_refused_in_a_sentence():
    kernel = smc.conditional(MODEL, chain.GRID, 3)
    with pytest.raises(FkdiffError, match=r"position is a dict; draw one with fkdiff\.smc\.trajectory"):
        kernel.init(KEY, {"state": jnp.zeros(4)})
    short = {"state": jnp.zeros(3, jnp.int32), "label": jnp.zeros(3)}
    with pytest.raises(FkdiffError, match="one particle for each of the 4 times of the grid"):
        kernel.init(KEY, smc.Trajectory(short, jnp.zeros(())))

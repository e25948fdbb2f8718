"""Resamplers: exact tables first, then the one statistic that tables cannot see (the mean of random counts).

At the end: what every resampler declares, what decorators pass on, and plain functions in place of resamplers.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import smc
from fkdiff.errors import FkdiffError
from fkdiff.smc.resamplers import ancestors, resampling
from fkdiff.smc.resamplers.waste_free import Blocks
from tests.smc import resampler_tables as tables
from tests.smc import walks

SCHEMES = [smc.multinomial, smc.stratified, smc.systematic, smc.residual]
by_name = pytest.mark.parametrize("scheme", SCHEMES, ids=lambda f: f.family)


def test_systematic_truth_table():
    tables.check_systematic_table()


@pytest.mark.x64
def test_systematic_against_rational_arithmetic():
    def draw(rng, count):
        u = rng.random()
        return u, [(k + u) / count for k in range(count)]

    tables.check_against_oracle(ancestors.systematic_ancestors, draw)


@pytest.mark.x64
def test_stratified_against_rational_arithmetic():
    def draw(rng, count):
        u = rng.random(count)
        return u, [(k + u[k]) / count for k in range(count)]

    tables.check_against_oracle(ancestors.stratified_ancestors, draw)


@pytest.mark.x64
def test_multinomial_against_rational_arithmetic():
    def draw(rng, count):
        u = rng.random(count + 1)
        arrivals = np.cumsum(-np.log1p(-u))
        return u, list(arrivals[:-1] / arrivals[-1])

    tables.check_against_oracle(ancestors.multinomial_ancestors, draw)


@pytest.mark.x64
def test_residual_keeps_whole_copies_and_draws_the_rest():
    rng = np.random.default_rng(5)
    compiled = jax.jit(ancestors.residual_ancestors)
    for _ in range(40):
        weights = rng.gamma(0.5, size=7) * (rng.random(7) < 0.7)
        weights[rng.integers(7)] = 1.0
        u = rng.random(8)
        expected = 7 * weights / weights.sum()
        whole = np.floor(expected + 1e-12)
        counts = whole.copy()
        arrivals = np.cumsum(-np.log1p(-u))
        rest = 7 - int(whole.sum())
        for i in tables.oracle(arrivals[:rest] / arrivals[rest], expected - whole):
            counts[i] += 1
        found = np.bincount(compiled(jnp.asarray(u), tables.logs(weights)), minlength=7)
        assert (found == counts).all()


@pytest.mark.parametrize(
    "scheme, shape, slack",
    [
        (ancestors.systematic_ancestors, (), 1),
        (ancestors.stratified_ancestors, (1000,), 2),
        (ancestors.multinomial_ancestors, (1001,), 1000),
        (ancestors.residual_ancestors, (1001,), 1000),
    ],
)
def test_counts_stay_near_their_expectation(scheme, shape, slack):
    tables.check_counts(scheme, shape, slack)


def test_systematic_counts_at_a_million():
    log_weights = jax.random.normal(jax.random.key(0), (10**6,)) * 2
    counts = np.bincount(jax.jit(ancestors.systematic_ancestors)(jnp.float32(0.3), log_weights), minlength=10**6)
    exact = np.exp(np.asarray(log_weights, np.float64))
    error = np.abs(counts - 10**6 * exact / exact.sum()).max()
    # One for the scheme, and 0.3 for a CDF of a million float32 terms, whose N-fold has a unit of 1/16.
    assert error <= 1.3


@by_name
def test_mean_counts(scheme):
    tables.check_mean_counts(scheme)


@pytest.mark.parametrize("u", [0.0, 0.5, tables.LARGEST_UNIFORM])
@pytest.mark.parametrize("scheme", ["systematic", "stratified", "multinomial", "residual"])
def test_extreme_uniforms_never_choose_the_dead(scheme, u):
    size = {"systematic": (), "stratified": (6,), "multinomial": (7,), "residual": (7,)}[scheme]
    compiled = jax.jit(getattr(ancestors, f"{scheme}_ancestors"))
    for weights in ([0, 1, 1, 1, 1, 0], [0, 0, 0, 1, 0, 0], [0, 3, 0, 0, 1e-3, 0], [0, 1e-30, 1, 0, 1e-30, 0]):
        found = np.asarray(compiled(jnp.full(size, u, jnp.float32), tables.logs(weights)))
        assert (np.asarray(weights)[found] > 0).all(), (weights, found)
        assert (np.diff(found) >= 0).all()


@by_name
def test_equal_weights(scheme):
    chosen, after, resampled = jax.jit(scheme)(jax.random.key(0), jnp.full(64, -3.0))
    assert bool(resampled)
    assert (np.asarray(after) == 0).all()
    if scheme is not smc.multinomial and scheme is not smc.stratified:
        assert np.array_equal(chosen, np.arange(64))


@by_name
def test_a_constant_added_to_log_weights_changes_nothing(scheme):
    # Multiples of 2⁻⁶ survive the addition of ±10⁴ in float32.
    log_weights = jnp.round(jax.random.normal(jax.random.key(1), (50,)) * 64) / 64
    compiled = jax.jit(scheme)
    for shift in (1e4, -1e4):
        for seed in range(5):
            key = jax.random.key(seed)
            assert jnp.array_equal(compiled(key, log_weights)[0], compiled(key, log_weights + shift)[0])


def test_decision_table():
    tables.check_decision(smc.adaptive, smc.systematic)


@by_name
@pytest.mark.parametrize("fill", [-np.inf, np.nan, np.inf])
def test_weights_that_define_nothing_leave_everything_as_it_is(scheme, fill):
    log_weights = jnp.full(5, -jnp.inf).at[2].set(fill)
    chosen, after, resampled = jax.jit(scheme)(jax.random.key(0), log_weights)
    assert not bool(resampled)
    assert chosen.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(after, log_weights, equal_nan=True)


@pytest.mark.x64
@by_name
def test_double_precision_is_kept(scheme):
    chosen, after, _ = jax.eval_shape(smc.adaptive(scheme), jax.random.key(0), jnp.zeros(5, jnp.float64))
    assert (chosen.dtype, after.dtype) == (jnp.int32, jnp.float64)


@by_name
def test_too_many_particles_for_single_precision(scheme):
    with pytest.raises(FkdiffError, match=r"num_particles=4194305 exceeds 2\*\*22"):
        jax.eval_shape(scheme, jax.random.key(0), jnp.zeros(2**22 + 1))


@pytest.mark.parametrize("threshold", [-0.1, 1.5, np.nan, np.zeros(2)])
def test_thresholds_outside_the_unit_interval_are_refused(threshold):
    with pytest.raises(FkdiffError, match="must be one number in"):
        smc.adaptive(smc.systematic, threshold)


@pytest.mark.x64
def test_effective_sample_size_and_mean():
    log_weights = jnp.log(jnp.asarray([1.0, 2.0, 0.0, 5.0]))
    assert abs(smc.ess(log_weights) - 64 / 30) <= 1e-12
    assert abs(smc.ess(log_weights + 1e4) - 64 / 30) <= 1e-9
    assert smc.ess(jnp.full(4, -jnp.inf)) == 0
    assert np.isnan(smc.ess(log_weights.at[0].set(jnp.nan)))
    assert np.isnan(smc.ess(log_weights.at[0].set(jnp.inf)))


def plain(key, log_weights):
    """A function as somebody outside would write it."""
    return smc.systematic(key, log_weights)


TRANSPORT = smc.optimal_transport(0.5)
DECLARED = [
    # resampler, family, gradient, averages
    (smc.systematic, "systematic", "refused", False),
    (smc.stratified, "stratified", "refused", False),
    (smc.multinomial, "multinomial", "refused", False),
    (smc.residual, "residual", "refused", False),
    (smc.never, "other", "pathwise", False),
    (Blocks(4), "waste-free", "refused", False),
    (TRANSPORT, "transport", "biased", True),
    (TRANSPORT.given(jnp.eye(3)), "transport", "biased", True),
    (smc.as_resampler(plain), "other", "undeclared", False),
    (smc.adaptive(smc.residual), "residual", "refused", False),
    (smc.adaptive(smc.never), "other", "pathwise", False),
    (smc.within(TRANSPORT, 0.0, 1.0), "transport", "biased", True),
    (smc.within(TRANSPORT, 0.0, 1.0).at(jnp.float32(0.5)), "transport", "biased", True),
    (smc.soft(smc.stratified), "stratified", "biased", False),
    (smc.stop_gradient(smc.adaptive(smc.multinomial)), "multinomial", "score", False),
    (smc.adaptive(smc.detached(plain)), "other", "biased", False),
]


@pytest.mark.parametrize("resampler, family, gradient, averages", DECLARED)
def test_every_resampler_says_what_it_is(resampler, family, gradient, averages):
    assert isinstance(resampler, smc.Resampler)
    assert (resampler.family, resampler.gradient, resampler.averages) == (family, gradient, averages)
    assert smc.gradient_class(resampler) == gradient


def descendants(kind):
    return {kind}.union(*(descendants(below) for below in kind.__subclasses__()))


def test_the_table_has_every_resampler_of_the_library():
    ours = {kind for kind in descendants(smc.Resampler) if kind.__module__.startswith("fkdiff.")}
    assert {type(row[0]) for row in DECLARED} == ours - {smc.Resampler, smc.Decorated}


def test_a_resampler_must_say_how_it_chooses():
    for kind in (smc.Resampler, smc.Decorated):
        with pytest.raises(TypeError, match="abstract"):
            kind()


class Told(smc.Resampler):
    """Keeps what it was told of the time and of the particles."""

    t: jax.Array | None = None
    particles: jax.Array | None = None

    def at(self, t):
        return Told(t, self.particles)

    def given(self, particles):
        return Told(self.t, particles)

    def __call__(self, key, log_weights):
        return smc.systematic(key, log_weights)


@pytest.mark.parametrize(
    "wrap",
    [
        smc.adaptive,
        smc.stop_gradient,
        smc.soft,
        lambda inner: smc.within(inner, 0.0, 1.0),
        lambda inner: smc.stop_gradient(smc.adaptive(smc.within(inner, 0.0, 1.0))),
    ],
    ids=["adaptive", "stop_gradient", "soft", "within", "three"],
)
def test_decorators_pass_on_the_time_and_the_particles(wrap):
    inner = wrap(Told()).at(jnp.float32(0.25)).given(jnp.arange(3.0))
    while isinstance(inner, smc.Decorated):
        inner = inner.resampler
    assert inner.t == 0.25
    assert inner.particles.tolist() == [0, 1, 2]


def test_only_the_innermost_resampler_is_soft():
    for inner in (smc.soft(smc.systematic), smc.within(smc.systematic, 0.0, 1.0), TRANSPORT):
        with pytest.raises(FkdiffError, match="decorate outside"):
            smc.soft(inner)


@pytest.mark.parametrize("wrap", [smc.adaptive, smc.stop_gradient, smc.detached, resampling.as_resampler])
def test_what_is_no_function_is_refused(wrap):
    with pytest.raises(FkdiffError, match=r"resampler=0\.5 is not a resampler"):
        wrap(0.5)


@pytest.mark.parametrize("wrap", [lambda r: r, smc.adaptive], ids=["bare", "adaptive"])
def test_a_plain_function_is_a_resampler(wrap):
    key, grid = jax.random.key(0), jnp.asarray(walks.GRID)
    ours, theirs = (smc.run_smc(key, walks.model(), grid, 16, resample=wrap(r)) for r in (smc.systematic, plain))
    assert (ours.scheme, theirs.scheme) == ("systematic", "other")
    assert jnp.array_equal(ours.particles, theirs.particles)
    assert bool(theirs.info.resampled.any())
    walk = walks.model()
    own = smc.run_smc(key, smc.Population(walk.initial, walk.move, resampler=plain), grid, 16)
    assert own.scheme == "other"
    assert bool(own.info.resampled.all())


def test_other_numbers_in_a_resampler_trace_nothing():
    def run(resample):
        before = len(walks.TRACES)
        smc.run_smc(jax.random.key(0), model, jnp.asarray(walks.GRID), 22, resample=resample)
        return len(walks.TRACES) - before

    model = walks.model()
    for make in (
        lambda number: smc.adaptive(smc.systematic, number),
        lambda number: smc.adaptive(plain, number),
        lambda number: smc.adaptive(smc.soft(smc.stratified, number), number),
        lambda number: smc.stop_gradient(smc.within(smc.adaptive(resampling.Multinomial(), number), number, 1.0)),
        lambda number: plain,
    ):
        assert run(make(0.5)) > 0
        assert run(make(0.7)) == 0

"""The matching loss is minimised by the exact model, by quadrature and for every kind of output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import paths, targets
from fkdiff.core import FkdiffError, squared_distances
from fkdiff.prediction import KINDS, Parameterization
from fkdiff.train.objectives import couplings, times, weightings
from fkdiff.train.objectives.matching import batch_loss, drop_labels, matching_loss
from fkdiff.train.objectives.times import sample_times

PATHS = {
    "variance_preserving": paths.variance_preserving,
    "cosine": paths.cosine,
    "variance_exploding": lambda: paths.variance_exploding(0.05, 20.0),
    "linear": paths.linear,
}
NODES, MASSES = np.polynomial.hermite_e.hermegauss(64)
MASSES = MASSES / MASSES.sum()


def gradient_at_optimum(form, weighting, wrong=None):
    """d/dθ E loss at θ = 0 for apply = E[target | x] + θ·features, by Gauss–Hermite quadrature; shape (4,)."""
    mix = targets.gaussian_mixture([[-0.6], [0.9]], [0.5, 0.8], [0.3, 0.7])
    pred = mix.predictor(form.path)

    def apply(theta, x, t, cond):
        features = jnp.stack([jnp.ones_like(x), x, jnp.sin(2 * x), x**2 * t])
        if form.kind == "energy":
            return -pred.log_prob(x, t) + jnp.tensordot(theta, features * x[None], 1).sum()
        p, q = form.coefficients(form.path.rates(t))
        view = pred(x, t)
        return p * view.clean + q * view.noise + jnp.tensordot(theta, features, 1)

    judged = form if wrong is None else wrong(form)
    z, w = jnp.asarray(NODES), jnp.asarray(MASSES)
    # Snr in [1/4, 4], where the posterior is smooth enough for the nodes to be exact to double precision.
    times = form.path.time(jnp.linspace(-1.4, 1.4, 3))

    def total(theta):
        def one(clean, noise, t):
            return matching_loss(judged, apply, theta, clean[None], noise[None], t, None, weighting)

        every = jax.vmap(jax.vmap(jax.vmap(one, (None, None, 0)), (None, 0, None)), (0, None, None))
        value = jnp.zeros(())
        for k in range(2):
            clean = mix.means[k, 0] + jnp.sqrt(mix.variances[k]) * z
            losses = every(clean, z, times).mean(-1)
            value = value + mix.weights[k] * jnp.einsum("i,j,ij->", w, w, losses)
        return value

    return jax.jit(jax.grad(total))(jnp.zeros(4))


@pytest.mark.x64
@pytest.mark.parametrize(
    "path, kind",
    [("variance_preserving", kind) for kind in KINDS]
    + [("cosine", "v"), ("variance_exploding", "edm"), ("variance_exploding", "energy"), ("linear", "velocity")],
)
def test_the_exact_model_is_stationary(path, kind):
    form = Parameterization(PATHS[path](), kind=kind, data_scale=0.7)
    gradient = gradient_at_optimum(form, "unit")
    assert float(jnp.abs(gradient).max()) <= 1e-10


@pytest.mark.x64
@pytest.mark.parametrize("weighting", ["min_snr", weightings.sigmoid(0.5), "edm", "plain"])
def test_no_weighting_moves_the_optimum(weighting):
    gradient = gradient_at_optimum(Parameterization(paths.cosine(), kind="velocity"), weighting)
    assert float(jnp.abs(gradient).max()) <= 1e-10


class FlippedNoise(Parameterization):
    """Regresses noise − data, as codes with the opposite time do."""

    def target(self, clean, noise, t):
        return -super().target(clean, noise, t)


class Swapped(Parameterization):
    """Mistakes clean data for noise."""

    def target(self, clean, noise, t):
        return super().target(noise, clean, t)


class Late(Parameterization):
    """Reads the rates at another time than the noise was added at."""

    def target(self, clean, noise, t):
        return super().target(clean, noise, t * 0.9)


@pytest.mark.x64
@pytest.mark.parametrize("mutant", [FlippedNoise, Swapped, Late])
def test_the_quadrature_sees_planted_mistakes(mutant):
    form = Parameterization(paths.cosine(), kind="velocity")
    gradient = gradient_at_optimum(form, "unit", lambda f: mutant(f.path, kind=f.kind))
    assert float(jnp.abs(gradient).max()) >= 1e-3


@pytest.mark.x64
def test_the_quadrature_sees_a_score_trained_as_noise():
    form = Parameterization(paths.cosine(), kind="score")
    gradient = gradient_at_optimum(form, "unit", lambda f: Parameterization(f.path, kind="noise"))
    assert float(jnp.abs(gradient).max()) >= 1e-2


@pytest.mark.x64
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "energy"])
@pytest.mark.parametrize("t", [0.2, 0.6])
def test_a_weighting_measures_the_view_it_names(kind, t):
    form = Parameterization(paths.variance_preserving(), kind=kind, data_scale=0.5)
    clean, noise = jnp.array([0.3, -1.1]), jnp.array([0.7, 0.4])
    out = jnp.array([0.2, 0.9])
    view = form.prediction(out, form.path.noised(clean, noise, t), t)
    of_noise, of_clean = float(((view.noise - noise) ** 2).mean()), float(((view.clean - clean) ** 2).mean())
    snr = float(jnp.exp(form.path.log_snr(t)))
    expected = {
        "noise": of_noise,
        "snr": of_noise,
        "clean": of_clean,
        "uniform": of_clean,
        "min_snr": min(of_noise, 5 * of_clean),
        "sigmoid": of_noise / (1 + snr),
        "edm": of_noise + 4 * of_clean,
        "plain": float(((out - form.target(clean, noise, t)) ** 2).mean()),
    }
    for weighting, value in expected.items():
        loss = float(matching_loss(form, lambda params, x, t, cond: out, None, clean, noise, t, None, weighting))
        assert abs(loss - value) <= 1e-10 * (1 + value), weighting
    if kind == "edm":
        # Karras et al.: the weight of the clean estimate's error cancels c_out², so the network's own error is left.
        assert abs(expected["edm"] - expected["plain"]) <= 1e-10


@pytest.mark.x64
def test_edm_is_the_published_preconditioning():
    form = Parameterization(paths.variance_exploding(0.05, 20.0), kind="edm", data_scale=0.5)
    t = form.path.time(jnp.asarray(-2 * np.log(0.8)))  # σ = 0.8
    x, out = jnp.array([0.3]), jnp.array([-0.4])
    clean = form.prediction(out, x, t).clean
    root = np.sqrt(0.8**2 + 0.5**2)
    assert abs(float(clean[0]) - (0.5**2 / root**2 * 0.3 + 0.8 * 0.5 / root * -0.4)) <= 1e-12


def test_an_unknown_weighting_is_refused_in_words():
    form = Parameterization(paths.cosine())
    with pytest.raises(FkdiffError, match='did you mean "unit"'):
        matching_loss(form, lambda *a: a[1], None, jnp.ones(2), jnp.ones(2), 0.5, None, "unti")


@pytest.mark.parametrize("law", ["uniform", "logsnr"])
@pytest.mark.parametrize("path", PATHS)
def test_times_are_stratified_inside_the_path(path, law):
    path = PATHS[path]()
    t = np.asarray(sample_times(jax.random.key(1), path, 64, law))
    assert t.min() >= float(path.t_min)
    assert t.max() <= float(path.t_max)
    if law == "uniform":
        fraction = (t - float(path.t_min)) / float(path.t_max - path.t_min)
    else:
        low, high = float(path.log_snr(path.t_min)), float(path.log_snr(path.t_max))
        fraction = (np.asarray(jax.vmap(path.log_snr)(jnp.asarray(t))) - low) / (high - low)
    slack = 2e-3  # single precision of the log-SNR near the ends
    assert not np.array_equal(fraction, np.sort(fraction))  # rows and slices are not tied
    fraction = np.sort(fraction)
    np.testing.assert_array_less(np.arange(64) / 64 - slack, fraction)
    np.testing.assert_array_less(fraction, (np.arange(64) + 1) / 64 + slack)
    other = np.asarray(sample_times(jax.random.key(2), path, 64, law))
    assert np.abs(other - t).max() > 0


def test_labels_are_dropped_at_the_rate_and_become_the_null_label():
    labels = jnp.arange(20_000, dtype=jnp.int32) % 10
    dropped = np.asarray(drop_labels(jax.random.key(0), labels, 0.2, 10))
    hidden = dropped == 10
    # Six standard deviations of a binomial share.
    assert abs(hidden.mean() - 0.2) <= 6 * np.sqrt(0.2 * 0.8 / 20_000)
    np.testing.assert_array_equal(dropped[~hidden], np.asarray(labels)[~hidden])


class Recorder:
    """A model whose output is its label, so the loss tells which label it was given."""

    def __call__(self, params, x, t, cond):
        return jnp.full_like(x, -1.0 if cond is None else 0.0) + (0.0 if cond is None else cond.astype(x.dtype))


def test_the_batch_loss_hands_each_example_its_own_label():
    form = Parameterization(paths.cosine(), kind="clean")
    labels = jnp.array([0, 1, 2, 3], jnp.int32)
    clean = jnp.repeat(labels.astype(jnp.float32)[:, None], 3, axis=1)

    def loss(labels, **options):
        return float(batch_loss(jax.random.key(0), form, Recorder(), None, clean, labels, weighting="plain", **options))

    assert loss(labels) <= 0.0
    assert loss(labels[::-1]) >= 1.0
    null = loss(labels, num_classes=4, label_dropout=1.0)
    assert abs(null - np.mean((np.arange(4) - 4) ** 2)) <= 1e-6
    assert abs(loss(None) - np.mean((np.arange(4) + 1) ** 2)) <= 1e-6


# Times -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("law", ["logit_normal", "log_normal"])
@pytest.mark.parametrize("stratified", [True, False])
def test_times_follow_their_law(law, stratified):
    path, num = paths.variance_exploding(0.002, 80.0, log_snr=(-9.0, 13.0)), 4096
    t = np.asarray(sample_times(jax.random.key(3), path, num, law, stratified), np.float64)
    if law == "logit_normal":
        share = (t - float(path.t_min)) / float(path.t_max - path.t_min)
        normal = np.log(share / (1 - share))
    else:
        normal = -(np.log(np.asarray(jax.vmap(path.sigma)(jnp.asarray(t, jnp.float32)))) + 1.2) / 1.2
    levels = np.sort(np.asarray(jax.scipy.stats.norm.cdf(normal)))
    gap = np.abs(levels - (np.arange(num) + 0.5) / num).max()
    # One in every slice, or the Dvoretzky–Kiefer–Wolfowitz–Massart bound at 1e-8.
    assert gap <= (2 / num if stratified else np.sqrt(np.log(2 / 1e-8) / (2 * num)) + 1 / num)
    assert stratified or gap >= 4 / num


def test_a_law_of_ones_own_is_a_quantile():
    path = paths.cosine()
    t = sample_times(jax.random.key(0), path, 8, lambda path, share: jnp.full_like(share, 0.25))
    np.testing.assert_array_equal(np.asarray(t), 0.25)
    with pytest.raises(FkdiffError, match='did you mean "logit_normal"'):
        sample_times(jax.random.key(0), path, 8, "logitnormal")
    with pytest.raises(FkdiffError, match="scale=0"):
        times.log_normal(scale=0)


# Couplings -------------------------------------------------------------------------------------------------


def test_optimal_transport_is_the_cheapest_permutation():
    from scipy.optimize import linear_sum_assignment

    clean = jax.random.normal(jax.random.key(0), (48, 3)) * 1.5 + 0.7
    noise = jax.random.normal(jax.random.key(1), (48, 3))
    order = np.asarray(couplings.permutation(squared_distances(clean, noise)))
    np.testing.assert_array_equal(np.sort(order), np.arange(48))
    cost = ((np.asarray(clean)[:, None] - np.asarray(noise)[None]) ** 2).sum(-1)
    rows, columns = linear_sum_assignment(cost)
    assert cost[np.arange(48), order].sum() <= cost[rows, columns].sum() * (1 + 1e-5)
    paired = couplings.paired_noise("optimal_transport", clean, noise)
    np.testing.assert_array_equal(np.asarray(paired), np.asarray(noise)[order])


def test_a_class_keeps_its_own_noise_and_the_least_cost_among_it():
    from scipy.optimize import linear_sum_assignment

    labels = jnp.asarray(np.random.default_rng(0).integers(0, 3, 60), jnp.int32)
    clean = jax.random.normal(jax.random.key(0), (60, 2)) + 4.0 * labels[:, None].astype(jnp.float32)
    noise = jax.random.normal(jax.random.key(1), (60, 2))
    paired = np.asarray(couplings.paired_noise("class_optimal_transport", clean, noise, labels))
    for label in range(3):
        mine = np.asarray(labels) == label
        own = np.asarray(noise)[mine]
        cost = ((np.asarray(clean)[mine][:, None] - own[None]) ** 2).sum(-1)
        rows, columns = linear_sum_assignment(cost)
        np.testing.assert_array_equal(paired[mine], own[columns][np.argsort(rows)])
    # Without classes in the cost the class on the right gets the noise on the right.
    plain = np.asarray(couplings.paired_noise("optimal_transport", clean, noise))
    assert plain[np.asarray(labels) == 2].mean() - plain[np.asarray(labels) == 0].mean() >= 0.8


def test_a_cost_that_is_not_finite_ends():
    cost = jnp.full((16, 16), jnp.nan)
    np.testing.assert_array_equal(np.sort(np.asarray(couplings.permutation(cost))), np.arange(16))


def test_coupled_pairs_must_be_declared():
    form = Parameterization(paths.linear(), kind="velocity")
    clean = jnp.ones((4, 2))
    with pytest.raises(FkdiffError, match="without a score"):
        batch_loss(jax.random.key(0), form, lambda *a: a[1], None, clean, None, coupling="optimal_transport")
    with pytest.raises(FkdiffError, match='use "velocity"'):
        Parameterization(paths.linear(), kind="score", coupled=True)
    with pytest.raises(FkdiffError, match="needs classes"):
        couplings.paired_noise("class_optimal_transport", clean, clean)

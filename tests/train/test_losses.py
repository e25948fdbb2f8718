"""The matching loss is minimised by the exact model, by quadrature and for every kind of output."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import paths, targets
from fkdiff.core import FkdiffError
from fkdiff.prediction import KINDS, Parameterization
from fkdiff.train.losses import WEIGHTINGS, batch_loss, drop_labels, matching_loss, sample_times

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
        p, q = KINDS[form.kind](form.path.rates(t))
        view = pred(x, t)
        features = jnp.stack([jnp.ones_like(x), x, jnp.sin(2 * x), x**2 * t])
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
    + [("cosine", "v"), ("variance_exploding", "noise"), ("linear", "velocity")],
)
def test_the_exact_model_is_stationary(path, kind):
    form = Parameterization(PATHS[path](), kind=kind)
    gradient = gradient_at_optimum(form, "unit")
    assert float(jnp.abs(gradient).max()) <= 1e-10


@pytest.mark.x64
@pytest.mark.parametrize("weighting", [w for w in WEIGHTINGS if w != "unit"])
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
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("weighting", ["noise", "clean"])
def test_a_weighting_measures_the_view_it_names(kind, weighting):
    form = Parameterization(paths.variance_preserving(), kind=kind)
    clean, noise, t = jnp.array([0.3, -1.1]), jnp.array([0.7, 0.4]), 0.6
    out = jnp.array([0.2, 0.9])
    loss = matching_loss(form, lambda params, x, t, cond: out, None, clean, noise, t, None, weighting)
    view = form.prediction(out, form.path.noised(clean, noise, t), t)
    error = view.noise - noise if weighting == "noise" else view.clean - clean
    assert abs(float(loss) - float((error**2).mean())) <= 1e-12 * (1 + float(loss))


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

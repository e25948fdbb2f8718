"""Outside models, written in their own conventions by their own formulas, give our predictions."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from fkdiff import interop, paths
from fkdiff.errors import FkdiffError
from fkdiff.targets import gaussian_mixture

MEANS = np.array([[-2.0, 0.4], [1.5, -1.0]])
VARIANCES, WEIGHTS = (0.25, 0.64), (0.3, 0.7)
TABLE = np.cumprod(1 - np.linspace(1e-4, 0.02, 1000))


def posterior_mean(x, scale, level):
    """E[data | x] for x = scale·data + level·noise, component by component."""
    means = jnp.asarray(MEANS, x.dtype)
    logs, clean = [], []
    for mean, variance, weight in zip(means, VARIANCES, WEIGHTS, strict=True):
        total = scale**2 * variance + level**2
        gap = x - scale * mean
        logs.append(np.log(weight) - 0.5 * (gap**2).sum() / total - jnp.log(total))
        clean.append(mean + scale * variance / total * gap)
    share = jax.nn.softmax(jnp.stack(logs))
    return share[0] * clean[0] + share[1] * clean[1]


def ddpm_noise(x, timestep, cond=None):
    """ε_θ of a DDPM: the table is looked up by its own index, linearly in log-SNR between entries."""
    log_snr = jnp.interp(timestep, jnp.arange(1000.0), jnp.asarray(np.log(TABLE / (1 - TABLE)), x.dtype))
    share = jax.nn.sigmoid(log_snr)
    clean = posterior_mean(x, jnp.sqrt(share), jnp.sqrt(1 - share))
    return (x - jnp.sqrt(share) * clean) / jnp.sqrt(1 - share)


def ddpm_v(x, timestep):
    noise = ddpm_noise(x, timestep)
    share = jnp.interp(timestep, jnp.arange(1000.0), jnp.asarray(TABLE, x.dtype))
    return jnp.sqrt(share) * noise - jnp.sqrt(1 - share) * (x - jnp.sqrt(1 - share) * noise) / jnp.sqrt(share)


def edm_denoiser(x, sigma):
    return posterior_mean(x, 1.0, sigma)


def flow_from_noise(x, tau):
    """d/dτ of τ·data + (1 − τ)·noise."""
    clean = posterior_mean(x, tau, 1 - tau)
    return clean - (x - tau * clean) / (1 - tau)


def flow_from_data(x, tau):
    """d/dτ of (1 − τ)·data + τ·noise."""
    clean = posterior_mean(x, 1 - tau, tau)
    return (x - (1 - tau) * clean) / tau - clean


def batch(function):
    """The same model as someone would ship it: a leading axis on everything."""
    return jax.vmap(function)


ROWS = {
    "ddpm": lambda: interop.ddpm(ddpm_noise, TABLE, (2,)),
    "ddpm, v": lambda: interop.ddpm(ddpm_v, TABLE, (2,), kind="v"),
    "ddpm, batched": lambda: interop.ddpm(batch(lambda x, k: ddpm_noise(x, k)), TABLE, (2,), batched=True),
    "edm": lambda: interop.edm(edm_denoiser, (2,)),
    "edm, batched": lambda: interop.edm(batch(edm_denoiser), (2,), 0.01, 50.0, batched=True),
    "flow": lambda: interop.flow(flow_from_noise, (2,)),
    "flow, data first": lambda: interop.flow(flow_from_data, (2,), convention="data_at_0"),
    "flow, batched": lambda: interop.flow(batch(flow_from_noise), (2,), batched=True),
}


@pytest.mark.x64
@pytest.mark.parametrize("name", ROWS)
def test_parity_with_the_exact_mixture(name):
    pred = ROWS[name]()
    exact = gaussian_mixture(MEANS, VARIANCES, WEIGHTS).predictor(pred.path)

    def gap(t, z):
        x = z * (pred.path.alpha(t) + pred.path.sigma(t))
        views = zip(pred(x, t), exact(x, t), strict=True)
        return jnp.stack([jnp.abs(ours - theirs).max() / (1 + jnp.abs(theirs).max()) for ours, theirs in views])

    # At entries of the table: between them two interpolations of it would differ.
    times, z = jnp.array([0.02, 0.3, 0.65, 0.98]), jnp.array([[0.9, -0.6], [-1.3, 0.2]])
    gaps = jax.jit(jax.vmap(jax.vmap(gap, (None, 0)), (0, None)))(times, z)
    assert gaps.max() <= 1e-8


@pytest.mark.x64
def test_the_index_of_a_table_is_not_off_by_one():
    """The model sees exactly k at the time of entry k, and the path has its ᾱ there."""
    pred = interop.ddpm(lambda x, k: jnp.broadcast_to(k, x.shape), TABLE, (1,))
    indices = np.array([0, 1, 500, 999])
    both = jax.jit(jax.vmap(lambda t: (pred(jnp.zeros(1), t).noise[0], pred.path.alpha(t) ** 2)))
    seen, shares = both(jnp.asarray(1 - indices / 1000))
    assert np.abs(np.asarray(seen) - indices).max() <= 1e-9
    assert np.abs(shares - TABLE[indices]).max() <= 1e-12


def test_edm_levels_and_default_range():
    seen = interop.edm(lambda x, sigma: jnp.broadcast_to(sigma, x.shape), (1,))
    path = seen.path
    assert abs(path.sigma(path.t_min) / 80.0 - 1) <= 1e-5
    assert abs(path.sigma(path.t_max) / 0.002 - 1) <= 1e-5
    assert abs(seen(jnp.zeros(1), 0.3).clean[0] / path.sigma(0.3) - 1) <= 1e-5


@pytest.mark.parametrize("batched", [False, True])
def test_a_condition_reaches_the_model(batched):
    shapes = []

    def model(x, level, cond=None):
        shapes.append((x.shape, level.shape, jax.tree.map(jnp.shape, cond)))
        return x if cond is None else x + cond["shift"]

    pred = interop.edm(model, (2,), batched=batched)
    bound = pred.given({"shift": jnp.array([1.0, 2.0])})
    difference = bound(jnp.zeros(2), 0.5).clean - pred(jnp.zeros(2), 0.5).clean
    assert np.array_equal(difference, [1.0, 2.0])
    lead = (1,) if batched else ()
    assert shapes == [((*lead, 2), lead, {"shift": (*lead, 2)}), ((*lead, 2), lead, None)]


def test_modules_keep_their_arrays_as_leaves():
    """New weights of an equinox module trace nothing."""
    traces = []

    class Model(eqx.Module):
        scale: jax.Array

        def __call__(self, x, tau):
            traces.append(1)
            return self.scale * x

    evaluate = eqx.filter_jit(lambda pred, x: pred(x, 0.5).velocity)
    values = [float(evaluate(interop.flow(Model(jnp.asarray(a)), (1,)), jnp.ones(1))[0]) for a in (0.5, 2.0)]
    assert values == [0.5, 2.0]
    assert len(traces) == 1


def numpy_model(x, level):
    return np.asarray(x) * 0.5


@pytest.mark.parametrize(
    ("build", "argument"),
    [
        (lambda: interop.ddpm(numpy_model, TABLE, (2,)), "eps_fn"),
        (lambda: interop.edm(numpy_model, (2,)), "denoiser"),
        (lambda: interop.flow(numpy_model, (2,)), "velocity_fn"),
        (lambda: interop.edm(lambda x, sigma: x if sigma > 1 else -x, (2,)), "denoiser"),
        (lambda: interop.edm(lambda x, sigma: x[int(sigma)] + x, (2,)), "denoiser"),
    ],
)
def test_a_model_that_reads_traced_values_is_told_of_pure_callback(build, argument):
    pred = build()
    with pytest.raises(FkdiffError, match=rf"^{argument} reads .*jax\.pure_callback"):
        jax.jit(lambda x, t: pred(x, t).clean)(jnp.zeros(2), jnp.asarray(0.5))


def test_a_numpy_model_in_a_callback_works():
    def wrapped(x, sigma):
        return jax.pure_callback(numpy_model, jax.ShapeDtypeStruct(x.shape, x.dtype), x, sigma)

    pred = interop.edm(wrapped, (2,))
    assert np.array_equal(jax.jit(lambda x: pred(x, 0.5).clean)(jnp.ones(2)), [0.5, 0.5])


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: interop.flow(flow_from_noise, (2,), convention="data_at_o"), "did you mean"),
        (lambda: interop.edm(edm_denoiser, (2,), 80.0, 0.002), "sigma_min=80"),
        (lambda: interop.ddpm(ddpm_noise, TABLE[::-1], (2,)), "decrease"),
        (lambda: interop.ddpm(ddpm_noise, TABLE, (2,), kind="epsilon"), 'kind="epsilon"'),
        (lambda: interop.ddpm("model", TABLE, (2,)), "eps_fn is a str"),
        (lambda: interop.edm(lambda x, sigma: x[:1], (2,))(jnp.zeros(2), 0.5), r"returned shape \(1,\)"),
        (lambda: interop.edm(lambda x, sigma: x[0], (2,), batched=True)(jnp.zeros(2), 0.5), "batch of one"),
    ],
)
def test_what_does_not_fit_is_said_in_one_sentence(build, words):
    with pytest.raises(FkdiffError, match=words):
        build()


@pytest.mark.parametrize("path", [None, paths.cosine()])
def test_flow_lives_on_the_path_that_it_was_trained_on(path):
    pred = interop.flow(flow_from_noise, (2,), path=path)
    assert type(pred.path) is type(paths.linear() if path is None else path)

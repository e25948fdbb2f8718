"""Exact weights at finite steps: eight steps, energies that solve no equation, and log Z is right all the same."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fkdiff as fk
import fkdiff.correctors as fkc
from fkdiff.correctors import finite

PATH = fk.paths.linear(log_snr=(-6.0, 1.5))
A = fk.targets.gaussian_mixture([[-2.0], [1.5]], [0.25, 0.64], [0.3, 0.7]).predictor(PATH)
C = fk.targets.gaussian_mixture([[-1.5], [2.0]], [0.49, 0.36], [0.6, 0.4]).predictor(PATH)


def wells(params, x, t, cond):
    """An energy that is a Gaussian's at first and a crooked double well's at last, by a schedule of its own."""
    share = t**3
    return 0.5 * (1 - share) * jnp.sum(x**2) + share * jnp.sum(0.5 * (x**2 - 1.2) ** 2 - 0.4 * x + params)


ENERGY = fk.Parameterization(PATH, "energy").predictor(wells, jnp.array(0.3), (1,))


def hill(x):
    return -0.75 * (x[0] - 1.0) ** 2


TARGETS = {
    "A²": lambda: fkc.anneal(A, 2.0),
    "A^½ C": lambda: fkc.product([A, C], exponents=[0.5, 1.0]),
    "A·tilt": lambda: fkc.tilt(A, hill),
    "energy": lambda: fkc.anneal(ENERGY, 1.0),
    "energy²·tilt": lambda: fkc.tilt(fkc.anneal(ENERGY, 2.0), hill),
}


def truth(target):
    """log ∫p̃ and the mean at t_max, by quadrature of the density itself."""
    x = jnp.linspace(-8.0, 8.0, 4001)
    log_p = np.asarray(jax.vmap(lambda y: target.log_density(y[None], PATH.t_max))(x), np.float64)
    mass = np.exp(log_p - log_p.max())
    return np.log(mass.sum() * 16 / 4000) + log_p.max(), (mass @ np.asarray(x)) / mass.sum()


def errors(target, noise=1.0, num_steps=8, num=2**15):
    """(Ẑ/Z − 1, mean − truth), both in their standard errors, of a run that never resamples."""
    model = fkc.finite_steps(target, noise)
    out = fk.check(fk.run_smc(jax.random.key(0), model, fk.grid(num_steps, PATH), num, resample=fk.smc.never))
    log_z, mean = truth(target)
    weights = np.exp(np.asarray(out.log_weights, np.float64) - log_z)
    x = np.asarray(out.particles, np.float64)[:, 0]
    ratio = np.array([weights.mean() - 1, np.mean(weights * (x - mean))])
    return ratio / (np.array([weights.std(), (weights * (x - mean)).std()]) / np.sqrt(num)), float(np.std(weights))


@pytest.mark.filterwarnings("ignore::fkdiff.FkdiffWarning")
@pytest.mark.parametrize("noise", [2.0, pytest.param(1.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize("name", TARGETS)
def test_eight_steps_are_exact(name, noise):
    deviations, spread = errors(TARGETS[name](), noise)
    assert np.all(np.abs(deviations) <= 5.0)
    assert spread <= 12.0  # enough weight seen for the standard errors to mean something


class Jacobianless(finite.FiniteSteps):
    """Densities of y taken for densities of x."""

    def log_potential(self, previous, particle, t0, t1):
        change = particle.x.size * (jnp.log(self.root(t1)) - jnp.log(self.root(t0)))
        return super().log_potential(previous, particle, t0, t1) - change


class Forward(finite.FiniteSteps):
    """The move back reads the force where the move began."""

    def log_potential(self, previous, particle, t0, t1):
        same = particle._replace(score=previous.score, gradient=previous.gradient)
        return super().log_potential(previous, same, t0, t1)


class Early(finite.FiniteSteps):
    """Densities at the time of departure."""

    def log_potential(self, previous, particle, t0, t1):
        late = self.target.log_density(particle.x, t1) - self.target.log_density(particle.x, t0)
        return super().log_potential(previous, particle, t0, t1) - late


@pytest.mark.filterwarnings("ignore::fkdiff.FkdiffWarning")
@pytest.mark.parametrize("mutant", [Jacobianless, Forward, Early])
def test_planted_mistakes_are_found(monkeypatch, mutant):
    monkeypatch.setattr(finite, "FiniteSteps", mutant)
    # At ν = 1 without rewards the move back is the path's noising and reads no force.
    deviations, _ = errors(TARGETS["energy²·tilt"](), 2.0)
    assert np.abs(deviations).max() >= 8.0


@pytest.mark.x64
def test_a_gaussian_target_has_constant_weights():
    path = fk.paths.variance_exploding(0.1, 10.0)
    pred = fk.targets.gaussian([0.0, 0.0], 1.0).predictor(path)
    model = fkc.finite_steps(fkc.anneal(pred, 2.0), 0.7)
    out = fk.run_smc(jax.random.key(0), model, fk.grid(5, path), 64)
    assert float(jnp.ptp(out.log_weights)) <= 1e-10
    variance = 1 + float(path.sigma(path.t_max)) ** 2
    assert abs(float(out.log_normalizer) + 2 * 0.5 * np.log(4 * np.pi * variance)) <= 1e-10


def test_log_z_of_an_energy_is_its_own_integral_and_shifts_with_it():
    def log_z(shift):
        energy = fk.Parameterization(PATH, "energy").predictor(wells, jnp.array(shift), (1,))
        model = fkc.finite_steps(fkc.anneal(energy, 1.0))
        return float(fk.run_smc(jax.random.key(0), model, fk.grid(8, PATH), 256).log_normalizer)

    assert abs(log_z(0.3) - log_z(1.3) - float(PATH.t_max) ** 3) <= 1e-4


def test_a_model_without_a_density_is_refused():
    plain = fk.Parameterization(PATH, "noise").predictor(lambda p, x, t, c: x, None, (1,))
    with pytest.raises(fk.FkdiffError, match="has no density"):
        fkc.finite_steps(fkc.anneal(plain, 2.0))
    with pytest.raises(fk.FkdiffError, match="noise=0"):
        fkc.finite_steps(fkc.anneal(A, 2.0), noise=0.0)

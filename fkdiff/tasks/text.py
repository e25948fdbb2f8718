"""`task.kind: text`: powers and rewards of a masked model of characters, beside what people do without weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, model_validator

import fkdiff as fk
from fkdiff.errors import FkdiffError, require
from fkdiff.tasks.case import Baseline, Case, Setting
from fkdiff.tasks.judging import by_weights
from fkdiff.tasks.later import characters, jax, jnp, keys, np
from fkdiff.tasks.outcome import Outcome
from fkdiff.tasks.tables import by_other_means, evidence, least_ess, number, paired
from fkdiff.tasks.task import Engine, Task
from fkdiff.train.schema import Finite, Positive, Section

PLAIN_TEXTS = 256


class Words(Section):
    """strength × log((known + ½)/(words + 1)): the share of words that are on a list, in nats.

    Without a list, the words that the reference part of the corpus has twice or more.
    """

    kind: Literal["words"] = "words"
    words: Annotated[tuple[Annotated[str, Field(max_length=64)], ...], Field(max_length=10_000)] = ()
    strength: Finite = 8.0

    def build(self) -> Callable[[Any], Any]:
        """The reward of ONE text, without its strength."""
        return fk.evaluate.word_share(self.words) if self.words else fk.evaluate.pydoc_word_share()


class Text(Task):
    """q(text | prompt)^beta e^{r(text)} of a masked model of characters; without a reward the power alone.

    One character is revealed per step.
    """

    kind: Literal["text"] = "text"
    prompt: Annotated[str, Field(max_length=4096)] = ""
    beta: Positive = 1.0
    reward: Words | None = Words()
    # "terminal" has no potential on the way, whatever the completions are.
    potential: Literal["difference", "max", "sum", "terminal"] = "difference"
    completions: Annotated[int, Field(ge=1, le=256)] = 4  # of the text, for the reward on the way
    order: Literal["random", "left-to-right", "confidence"] = "random"
    engine: ClassVar = Engine
    of_text: ClassVar[bool] = True
    legend: ClassVar[str] = (
        "  calls: model evaluations per text; reward in nats; 5-gram: −log-likelihood under counts of a part of the "
        "corpus that\n  the model has not seen."
    )

    @model_validator(mode="after")
    def _agree(self) -> Text:
        for name in ("potential", "completions"):
            given, usual = getattr(self, name), type(self).model_fields[name].default
            if self.reward is None and given != usual:
                raise ValueError(f"task.{name}={given} is for a reward and task.reward is null; leave one of them out")
        return self

    def cases(self, setting: Setting) -> list[Case]:
        pred = self.prompted(setting)
        target, times = fk.discrete.anneal(pred, self.beta), jnp.linspace(0.0, 1.0, pred.length + 1)
        given = f"|{self.prompt!r}…" if self.prompt else ""
        formula = f"q(text{given})^{self.beta:g}"
        if self.reward is None:
            model = target.feynman_kac(self.order)

            def draw(key: Any, calls: int, num_particles: int, num_samples: int) -> tuple[Any, int]:
                cold = fk.smc.unweighted(model)
                return fk.check(fk.run_smc(key, cold, times, num_particles)).particles, len(times)

            return [Case("annealed", times, model, Baseline("no weights", draw), None, formula, facts=pred)]
        reward, strength = self.reward.build(), self.reward.strength
        way, order = fk.steering.clean_draws(self.completions), fk.discrete.unmask(self.order)
        model = fk.steer(target, order, reward, potential=self.potential, strength=strength, estimate=way)
        formula += f" e^(r), r = {strength:g} {self.reward.kind}"
        nats = lambda text: strength * reward(text)  # noqa: E731
        return [Case("steered", times, model, self.best_of(pred, nats), None, formula, reward=nats, facts=pred)]

    def best_of(self, pred: fk.discrete.DiscretePredictor, reward: Callable[[Any], Any]) -> Baseline:
        """The best of as many plain texts as the weighted run's calls would pay for."""

        def draw(key: Any, calls: int, num_particles: int, num_samples: int) -> tuple[Any, int]:
            n = max(1, calls * num_particles // ((pred.length + 1) * num_samples))
            texts = self.plain(key, pred, num_samples * n).reshape(num_samples, n, pred.length)
            scores = jax.lax.map(jax.vmap(reward), texts)
            return texts[jnp.arange(num_samples), scores.argmax(axis=1)], n * (pred.length + 1)

        return Baseline("best of n", draw)

    def prompted(self, setting: Setting) -> fk.discrete.DiscretePredictor:
        """The run's denoiser, told how the text begins."""
        run, prompt = setting.run, self.prompt
        pred, (length,) = run.denoiser, run.shape
        if not prompt:
            return pred
        require(
            len(prompt) < length,
            f"task.prompt has {len(prompt)} characters, and a text of this model {length} in all; make it shorter.",
        )
        try:
            told = characters.encode(prompt)
        except FkdiffError as error:
            raise FkdiffError(f"task.prompt: {error}") from None
        return fk.discrete.infill(pred, np.append(told, np.full(length - len(prompt), characters.MASK, np.int32)))

    def plain(self, key: Any, pred: fk.discrete.DiscretePredictor, number: int) -> Any:
        """Texts of the model alone, which no weight tells apart."""
        model, times = fk.discrete.anneal(pred, 1.0).feynman_kac(self.order), jnp.linspace(0.0, 1.0, pred.length + 1)
        return fk.run_smc(key, model, times, number, resample=fk.smc.adaptive(fk.smc.systematic, 0.0)).particles

    def judged(self, outcomes: list[Outcome], setting: Setting) -> list[dict[str, Any]]:
        """Rewards, and the likelihood under a 5-gram model that nobody trained on; log Z by weighted plain texts."""
        judge, found = fk.evaluate.pydoc_ngram(), []
        for o in outcomes:
            verdicts: dict[str, Any] = {}
            for side, texts in (("exact", o.draws), ("heuristic", o.heuristic[: len(o.draws)])):
                nats = np.array([judge.negative_log_likelihood(characters.decode(text)) for text in texts])
                verdicts[side] = {"nats_per_character": float(nats.mean()), "nats_error": error(nats)}
                if o.case.reward is not None:
                    rewards = np.asarray(jax.vmap(o.case.reward)(jnp.asarray(texts)), np.float64)
                    verdicts[side] |= {"reward": float(rewards.mean()), "reward_error": error(rewards)}
            if o.case.reward is not None and self.beta == 1:
                key = keys.stream(keys.seed_key(setting.config.seed), keys.Use.DATA)
                rewards = jax.vmap(o.case.reward)(self.plain(key, o.case.facts, PLAIN_TEXTS))
                route = by_weights(rewards, "plain texts")
                verdicts["exact_target"] = dict(zip(("route", "log_z", "log_z_standard_error"), route, strict=True))
            found.append(verdicts)
        return found

    def sheet(self, outcomes: list[Outcome], setting: Setting) -> str:
        """All texts, one per line as Python writes them, exact first."""
        lines = []
        for o in outcomes:
            for title, texts in ((f"{o.case.name}: {o.case.formula}", o.draws), (o.case.baseline.name, o.heuristic)):
                lines += [f"# {title}", *(repr(characters.decode(text)) for text in texts), ""]
        return "\n".join(lines)

    def table(self, cases: list[dict[str, Any]]) -> str:
        """Exact beside the baseline."""
        run = {"log Z": evidence, "by other means": by_other_means, "min ESS": least_ess}
        nats = number("nats_per_character", 3, "nats_error")
        return paired(cases, run, {"reward": number("reward", 2, "reward_error"), "5-gram nats per character": nats})


def error(values: np.ndarray) -> float:
    """Standard error of a mean; draws of one population share ancestors, so that it may be too small."""
    return float(values.std(ddof=1) / np.sqrt(len(values))) if len(values) > 1 else float("nan")

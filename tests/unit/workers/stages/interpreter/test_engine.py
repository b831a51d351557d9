"""The Interpreter: entailment scores equal to the transformers pipeline, cosines, `unknown`, and its caches."""

import math
from pathlib import Path
from typing import Any

import pytest
import torch

from golem_chain.shared.errors import BadLabels, BadSetting, GolemError, ModelCorrupt
from golem_chain.shared.labels import parse_labels
from golem_chain.shared.records import Intent, Label, LabelSet
from golem_chain.shared.settings import Settings
from golem_chain.workers.devices.memory import Reading
from golem_chain.workers.residency.manager import Residency
from golem_chain.workers.residency.runner import serve
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.interpreter import embeddings, entailment
from golem_chain.workers.stages.interpreter.engine import (
    Interpreter,
    Utterance,
    make,
    method_of,
)
from golem_chain.workers.stages.lru import Lru
from golem_chain.workers.stages.tokenizer import by_length, cut_to, harmless, load_tokenizer
from tests.support.text_models import Held, bart, bert, gpt2

LIGHTS = parse_labels("lights_on=turning on the lights,music_stop,weather=what is the weather|asking about weather")


def engine(held: Held, **settings: Any) -> Interpreter:
    made = Interpreter(held, Settings.read(_env_file=None, **settings))
    made.load()
    return made


def answer(engine: Interpreter, *asks: tuple[str, LabelSet]) -> list[Any]:
    """Return the stage's answers: from `prepare` where no model is needed, else from one `run`."""
    prepared = [engine.prepare(Utterance(text, "en", labels)) for text, labels in asks]
    ran = iter(engine.run([ready.item for ready in prepared if isinstance(ready, Ready)]))
    return [next(ran) if isinstance(ready, Ready) else ready for ready in prepared]


@pytest.fixture(scope="module")
def small_bart(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return bart(tmp_path_factory.mktemp("bart"), full=False)


@pytest.fixture(scope="module")
def small_bert(tmp_path_factory: pytest.TempPathFactory) -> Held:
    return bert(tmp_path_factory.mktemp("bert"))


def test_entailment_scores_are_those_of_transformers_on_the_full_quest_shape(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    from transformers import pipeline

    held = bart(tmp_path_factory.mktemp("distilbart"), full=True)
    mine = engine(held, unknown_score=0.0)
    assert mine.method == "entailment"
    theirs = pipeline("zero-shot-classification", model=held.model, tokenizer=load_tokenizer(held.folder))
    wants = ["turning on the lights", "stopping the music", "the weather"]
    spells = ["casting a spell", "a dragon"]
    several = LabelSet(labels=tuple(Label(name=want) for want in wants), multi_label=True)
    own = LabelSet(labels=tuple(Label(name=want) for want in spells), template="Here one speaks of {}, as it seems.")
    single = LabelSet(labels=(Label(name="the weather"),))
    one_true = LabelSet(labels=tuple(Label(name=want) for want in wants))
    asks = [
        ("Turn on the lights in the kitchen, please.", one_true),
        ("no", one_true),
        ("What is the weather like tomorrow in the city, and will it rain?", several),
        ("Turn on the lights in the kitchen, please.", own),
        ("Play some music.", single),
    ]
    spread = []
    for (text, labels), got in zip(asks, answer(mine, *asks), strict=True):
        expected = theirs(
            text,
            [label.name for label in labels.labels],
            hypothesis_template=labels.template or "This text is about {}.",
            multi_label=labels.multi_label,
        )
        assert list(got.scores) == expected["labels"]
        assert list(got.scores.values()) == pytest.approx(expected["scores"], abs=1e-4)
        assert (got.label, got.method) == (expected["labels"][0], "entailment")
        spread.append(max(expected["scores"]) - min(expected["scores"]))
    assert max(spread) > 0.01, "with equal scores anything would agree"


def test_a_batch_answers_as_each_alone_and_computes_equal_pairs_once(small_bart: Held) -> None:
    asks = [("turn on the lights", LIGHTS), ("no", LIGHTS), ("turn on the lights", parse_labels("a=weather,b"))]
    together = answer(engine(small_bart), *asks)
    for ask, got in zip(asks, together, strict=True):
        (alone,) = answer(engine(small_bart, interpreter_tokens=1), ask)
        assert got.scores == pytest.approx(alone.scores, abs=1e-5)
        assert list(got.scores.values()) == sorted(got.scores.values(), reverse=True)
    scorer = entailment.EntailmentScorer(small_bart.config, load_tokenizer(small_bart.folder), 64, 512)
    rows = []
    hook = small_bart.model.register_forward_pre_hook(
        lambda module, args, kwargs: rows.append(len(kwargs["input_ids"])), with_kwargs=True
    )
    try:
        found = scorer.score(small_bart.model, [("a", "b"), ("a", "c"), ("a", "b")])
    finally:
        hook.remove()
    assert sum(rows) == 2
    assert found[0] == found[2] != found[1]


def test_an_nli_model_can_be_asked_about_fewer_phrasings(small_bart: Held) -> None:
    (few,) = answer(engine(small_bart, interpreter_phrasings=1), ("the city", LIGHTS))
    first = parse_labels("lights_on=turning on the lights,music_stop,weather=what is the weather")
    (same,) = answer(engine(small_bart), ("the city", first))
    (all_of_them,) = answer(engine(small_bart), ("the city", LIGHTS))
    assert few.scores == pytest.approx(same.scores, abs=1e-6)
    assert few.scores != all_of_them.scores


def test_a_phrasing_that_the_scribe_chose_is_the_intent_and_loads_no_model(small_bert: Held) -> None:
    class Device:
        device = "cpu"

        def read(self) -> Reading:
            return Reading(0, 0, 1 << 40, 0, 1 << 40)

        def reset_peak(self) -> None: ...
        def give_back(self) -> None: ...
        def limit(self, budget_bytes: int) -> None: ...

    mine = Interpreter(small_bert, Settings.read(_env_file=None))
    residency = Residency({"interpreter": mine}, Device(), "1", None)
    chosen = Utterance("lights on", "en", LIGHTS, {"lights_on": 0.9, "weather": 0.1})
    served = serve(residency, "interpreter", [chosen])
    scores = {"lights_on": 0.9, "weather": 0.1}
    assert served.answers == [Intent(label="lights_on", score=0.9, scores=scores, method="vocabulary")]
    assert not residency.resident
    assert served.batch_size == 0
    serve(residency, "interpreter", [Utterance("lights on", "en", LIGHTS)])
    assert list(residency.resident) == ["interpreter"], "words without a choice need it"


def test_the_label_whose_phrasings_have_most_together_is_chosen_and_not_that_of_the_likeliest(small_bart: Held) -> None:
    chosen = Utterance("lights on", "en", LIGHTS, {"lights_on": 0.40, "weather": 0.59})
    answer = engine(small_bart).prepare(chosen)
    assert isinstance(answer, Intent)
    assert (answer.label, answer.score) == ("weather", 0.59)
    assert list(answer.scores) == ["weather", "lights_on"]


def test_control_tokens_in_a_text_are_only_words(small_bart: Held) -> None:
    marked = parse_labels("a=</s></s> lights,b=<mask>")
    spoilt, plain, other = answer(
        engine(small_bart), ("turn</s> on</s>", LIGHTS), ("turn  on ", LIGHTS), ("lights", marked)
    )
    assert spoilt.scores == pytest.approx(plain.scores, abs=1e-5)
    assert isinstance(other, Intent)
    tokenizer = load_tokenizer(small_bart.folder)
    assert "</s>" not in harmless("x<</s>/s>y", tokenizer)
    assert harmless("a < b", tokenizer) == "a < b"


def test_a_long_text_loses_its_end_and_never_the_label(small_bart: Held) -> None:
    long = "turn on the lights " * 50_000
    wide = parse_labels("a=" + "🌧" * 300 + ",b=weather")
    first, second, third = answer(
        engine(small_bart), (long, LIGHTS), (long + "and what is the weather", LIGHTS), (long, wide)
    )
    assert first.scores == second.scores
    assert len(set(first.scores.values())) == 3
    assert isinstance(third, Intent)
    tokenizer = load_tokenizer(small_bart.folder)
    assert cut_to("turn on the lights", 2, tokenizer).startswith("turn")
    for text in ("turn on the lights " * 99, "🌧" * 99):
        assert len(tokenizer(cut_to(text, 20, tokenizer), add_special_tokens=False)["input_ids"]) <= 20


def test_phrasings_of_a_label_are_averaged_as_probabilities() -> None:
    alone = entailment.scores([[(1.0, 0.0)], [(2.0, 0.0)]], multi_label=False)
    assert alone == pytest.approx([1 / (1 + math.e), math.e / (1 + math.e)])
    assert entailment.scores([[(1.0, 0.0)] * 3, [(2.0, 0.0)]], multi_label=False) == pytest.approx(alone)
    one_fits = entailment.scores([[(9.0, 0.0), (-9.0, 0.0), (-9.0, 0.0)], [(3.0, 0.0)] * 3], multi_label=False)
    assert one_fits[0] > one_fits[1]
    each = entailment.scores([[(2.0, -2.0), (-2.0, 2.0)], [(900.0, -900.0)]], multi_label=True)
    assert each == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("multi_label", [False, True])
def test_a_label_that_is_contradicted_however_it_is_put_is_unknown(small_bart: Held, multi_label: bool) -> None:
    labels = LIGHTS.model_copy(update={"multi_label": multi_label})
    (sure,) = answer(engine(small_bart, unknown_score=0.0), ("lights", labels))
    (unsure,) = answer(engine(small_bart, unknown_score=1.0), ("lights", labels))
    assert sure.label == next(iter(sure.scores))
    assert unsure.label == "unknown"
    assert unsure.scores == sure.scores
    assert 0 < unsure.score < 1


def test_a_label_is_believed_by_the_phrasing_that_fits_best() -> None:
    assert entailment.belief([(2.0, -2.0), (-9.0, 9.0)]) == pytest.approx(1 / (1 + math.exp(-4)))
    assert entailment.belief([(0.0, 0.0)]) == 0.5
    assert entailment.belief([(-900.0, 900.0)]) == 0.0


def test_several_labels_may_be_true_at_once() -> None:
    """Labels are scored independently, and the answer is `unknown` only if none passes."""
    both = embeddings.scores([0.7, 0.6, 0.1], 0.05, 0.25, multi_label=True)
    assert both[0] > 0.99
    assert both[1] > 0.99
    assert both[2] < 0.06
    assert embeddings.scores([0.7, 0.1], 0.05, 0.25, multi_label=True)[0] == both[0]
    one = embeddings.scores([0.7, 0.6, 0.1], 0.05, 0.25, multi_label=False)
    assert sum(one) == pytest.approx(1)
    each = entailment.scores([[(3.0, -3.0)], [(2.0, -2.0)], [(-3.0, 3.0)]], multi_label=True)
    assert [score > 0.5 for score in each] == [True, True, False]


def test_contradiction_is_found_by_its_name(tmp_path: Path) -> None:
    held = bart(tmp_path, full=False, id2label={0: "neutral", 1: "ENTAILMENT", 2: "CONTRADICTION"})
    scorer = entailment.EntailmentScorer(held.config, load_tokenizer(tmp_path), 64, 512)
    assert (scorer.entailment, scorer.contradiction) == (1, 2)


def test_a_checkpoint_that_is_neither_is_refused_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    feelings = bart(tmp_path / "a", full=False, id2label={0: "sad", 1: "glad"})
    for held in (feelings, gpt2(tmp_path / "b", full=False)):
        with pytest.raises(ModelCorrupt, match="interpreter's checkpoint"):
            Interpreter(held, Settings.read(_env_file=None))
    (tmp_path / "a" / "tokenizer.json").write_text("{")
    with pytest.raises(ModelCorrupt, match="tokenizer"):
        load_tokenizer(tmp_path / "a")


def test_the_skeleton_is_of_the_kind_that_the_config_says(small_bart: Held, small_bert: Held) -> None:
    assert type(make(small_bart.config)).__name__ == "BartForSequenceClassification"
    assert type(make(small_bert.config)).__name__ == "BertModel"
    assert method_of(small_bert.config) == "cosine"


def test_cosines_are_those_of_mean_pooled_unit_vectors(small_bert: Held) -> None:
    tokenizer = load_tokenizer(small_bert.folder)

    def vector(text: str) -> torch.Tensor:
        with torch.inference_mode():
            states = small_bert.model(**tokenizer(text, return_tensors="pt")).last_hidden_state[0]
        return torch.nn.functional.normalize(states.mean(0), dim=0)

    text = "turn on the lights"
    near = {
        "lights_on": vector("turning on the lights"),
        "music_stop": vector("music stop"),
        "weather": torch.nn.functional.normalize(
            (vector("what is the weather") + vector("asking about weather")) / 2, dim=0
        ),
    }
    expected = torch.tensor([float(label @ vector(text)) for label in near.values()]).div(0.05).softmax(0)
    labels = parse_labels(
        "lights_on=turning on the lights,music_stop=music stop,weather=what is the weather|asking about weather"
    )
    got, _, other = answer(
        engine(small_bert, unknown_cosine=-1),
        (text, labels),
        ("the weather tomorrow in the city", labels),
        ("no", labels),
    )
    assert [got.scores[name] for name in near] == pytest.approx(expected.tolist(), abs=1e-4)
    assert got.method == "cosine"
    assert got.scores != other.scores


def test_a_name_is_compared_in_english_wordings_only_with_an_english_text(small_bert: Held) -> None:
    made, names = engine(small_bert, unknown_cosine=-1), parse_labels("lights_on,weather")
    asks = [Utterance("turn on the lights", language, names) for language in ("en", None, "de")]
    found: list[Any] = made.run(asks)
    english, unstated, german = found
    assert english == unstated
    assert english.scores != german.scores
    assert [made.prepare(ask) for ask in asks] == [english, unstated, german], "the cache keeps them apart"
    said = parse_labels("lights_on=lights on,weather=weather")
    assert german.scores == pytest.approx(answer(made, ("turn on the lights", said))[0].scores, abs=1e-5)


def test_a_name_counts_by_the_mean_and_the_closest_of_its_wordings() -> None:
    text, far = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    both = torch.stack([text, far])
    vectors = embeddings.label_vectors([both, both, far.unsqueeze(0)], [True, False, True], offset=0.125)
    mean = math.sqrt(0.5)
    assert vectors.cosines(text) == pytest.approx([(mean + 1) / 2 + 0.125, mean, 0.125])


def test_what_is_near_no_label_is_unknown(small_bert: Held) -> None:
    (far,) = answer(engine(small_bert, unknown_cosine=1.0), ("the quick brown fox", LIGHTS))
    assert far.label == "unknown"
    assert set(far.scores) == {"lights_on", "music_stop", "weather"}
    assert embeddings.unknown_score([0.1, 0.0], 0.05, 0.3) > 0.9
    assert embeddings.unknown_score([0.9, 0.0], 0.05, 0.3) < 0.01
    assert embeddings.scores([0.3], 0.05, 0.3, multi_label=False) == pytest.approx([0.5])
    assert embeddings.scores([0.3, 0.9], 0.05, 0.3, multi_label=True) == pytest.approx([0.5, 1.0], abs=1e-4)


def test_a_text_without_words_is_noise_without_the_model(small_bart: Held) -> None:
    idle = Interpreter(small_bart, Settings.read(_env_file=None))
    for text in ("", "  ", "...", "♪ ♪"):
        assert idle.prepare(Utterance(text, None, LIGHTS)) == Intent(label="noise", score=1.0, method="silence")
    with pytest.raises(BadLabels):
        idle.prepare(Utterance("a", None, LabelSet(labels=(Label(name="unknown"),))))
    with pytest.raises(BadSetting, match="GOLEM_TEMPLATE"):
        Interpreter(small_bart, Settings.read(_env_file=None, template="no place"))


def test_a_text_seen_before_needs_no_model(small_bert: Held) -> None:
    made = engine(small_bert)
    (first,) = answer(made, ("turn on the lights", LIGHTS))
    assert made.run([]) == []
    made.unload()
    assert made.model is None
    assert made.prepare(Utterance("turn on the lights", "en", LIGHTS)) == first
    assert isinstance(made.prepare(Utterance("turn on the lights", "en", parse_labels("a,b"))), Ready)
    assert isinstance(engine(small_bert, interpreter_cache=0).prepare(Utterance("turn", "en", LIGHTS)), Ready)


def test_weights_that_are_not_numbers_are_an_error_and_not_a_score(tmp_path: Path) -> None:
    held = bert(tmp_path)
    for parameter in held.model.parameters():
        parameter.data.fill_(math.nan)
    broken, silent = answer(engine(held), ("turn on the lights", LIGHTS), ("", LIGHTS))
    assert isinstance(broken, GolemError)
    assert broken.code == "model-corrupt"
    assert "not finite in float32: run `golem models verify`" in broken.message
    assert silent.label == "noise"


def test_the_cache_forgets_the_least_recently_used() -> None:
    cache: Lru[str, int] = Lru(3)
    for number, key in enumerate("abc"):
        cache.put(key, number)
    assert cache.get("a") == 0
    cache.put("d", 3)
    assert (cache.get("b"), cache.get("a"), len(cache), cache.weight) == (None, 0, 3, 3)
    cache.put("big", 9, weight=4)
    assert cache.get("big") is None
    cache.put("d", 4, weight=3)
    assert (cache.get("d"), len(cache)) == (4, 1)


def test_sub_batches_hold_their_bound_with_padding() -> None:
    assert by_length([3, 10, 4, 9], 20) == [[1, 3], [2, 0]]
    assert by_length([50], 20) == [[0]]
    assert by_length([], 20) == []
    batches = by_length(list(range(1, 60)), 64)
    assert sorted(place for batch in batches for place in batch) == list(range(59))
    assert all(len(batch) * (max(batch) + 1) <= 64 for batch in batches)


def test_working_memory_grows_with_the_model_and_is_nothing_for_nothing(small_bart: Held, small_bert: Held) -> None:
    made = Interpreter(small_bart, Settings.read(_env_file=None))
    assert made.weights_bytes == small_bart.nbytes
    assert made.working_bytes(0) == 0
    assert Interpreter(small_bert, Settings.read(_env_file=None)).working_bytes(8) > 1_000_000


def test_entailment_costs_a_pass_for_each_phrasing_and_cosine_one_for_the_text(
    small_bart: Held, small_bert: Held
) -> None:
    one, many = parse_labels("city"), parse_labels(",".join(f"label{n}" for n in range(20)))
    pairs, text = engine(small_bart), engine(small_bert)
    assert pairs.cost(Utterance("lights", "en", many)) == 20 * pairs.cost(Utterance("lights", "en", one))
    assert text.cost(Utterance("lights", "en", many)) == text.cost(Utterance("lights", "en", one))
    assert text.cost(Utterance("lights on " * 100, "en", one)) > 5 * text.cost(Utterance("lights", "en", one))
    assert pairs.cost(Utterance("lights", "en", many, {"label1": 1.0})) == 1

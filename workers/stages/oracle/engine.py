"""The Oracle: a short reply to the transcript from a causal language model, plain or with a chat template."""

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch

from golem_chain.shared.errors import BadRequest, GolemError, ModelCorrupt
from golem_chain.shared.labels import in_language
from golem_chain.shared.records import Intent, LabelSet, OracleParams, Reply, Turn
from golem_chain.shared.settings import Settings
from golem_chain.workers.stages.engine import Ready
from golem_chain.workers.stages.finite import not_finite
from golem_chain.workers.stages.oracle import foreign, prompts
from golem_chain.workers.stages.oracle.decoder.attention import BUCKET
from golem_chain.workers.stages.oracle.decoder.head import EXACT
from golem_chain.workers.stages.oracle.decoder.texts import Decoder, SlottedTexts, decoder_of, read_prefix
from golem_chain.workers.stages.oracle.generation import Texts, generate
from golem_chain.workers.stages.oracle.kept import KeptPrefix
from golem_chain.workers.stages.oracle.queue import Queue
from golem_chain.workers.stages.oracle.row import Row
from golem_chain.workers.stages.sampling import Rules
from golem_chain.workers.stages.tokenizer import context_of, cut_to, harmless, load_tokenizer
from golem_chain.workers.stages.transformers_types import Model, ModelConfig, Tokenizer

if TYPE_CHECKING:
    from golem_chain.workers.store.load import Weights

#: Default rules for plain language models.
PLAIN = Rules(max_new_tokens=40, temperature=1.0, top_k=50, top_p=0.95, no_repeat_ngram_size=2)
#: Default rules for chat models. Small ones drift at higher temperatures, and a ban on repeated bigrams, which counts
#: those of the prompt, makes them babble.
CHAT = Rules(max_new_tokens=40, temperature=0.3, top_k=50, top_p=0.95, no_repeat_ngram_size=0)

#: What a reply costs besides its new tokens, in steps: all tokens of a prompt are read at once.
_PROMPT_COST = 10

#: Tokens of a usual row, prompt and reply: more than the quotation limit allows, and 40 new ones. The unit of a batch's
#: size.
ROW_TOKENS = 360
#: Maximum tokens of a prompt, even if the model's context is longer: bounds the memory of a batch.
LONGEST_PROMPT = 1024
#: Maximum tokens of a row.
LONGEST = 2 * LONGEST_PROMPT
#: Rows that run at once, unless residency sets another number before a run.
SLOTS = 16


@dataclass(frozen=True)
class ReplyRequest:
    """The transcript, its intent, and how to reply."""

    text: str
    intent: Intent
    labels: LabelSet
    params: OracleParams
    seed: int  # 0 to 2**63 - 1
    language: str | None = None  # ISO 639-1, of the text


@dataclass(frozen=True)
class Prompt:
    """A prompt in the model's tokens."""

    text: str
    tokens: tuple[int, ...]
    rules: Rules
    seed: int
    one_sentence: bool = False  # stop after a sentence: chat models, unless the job sets max_new_tokens


def make(config: ModelConfig) -> Any:
    """Build the model without weights, for the store to fill. Raises ModelCorrupt."""
    from transformers import AutoModelForCausalLM
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    kinds = tuple(config.architectures or ())
    causal = config.model_type in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not config.is_encoder_decoder
    if not causal or not any(kind.endswith(("LMHeadModel", "ForCausalLM")) for kind in kinds):
        raise ModelCorrupt(
            f"The oracle's checkpoint ({', '.join(kinds) or config.model_type}) is not a causal language model: "
            "set GOLEM_ORACLE_MODEL to one, such as distilbert/distilgpt2."
        )
    model = AutoModelForCausalLM.from_config(config)
    if (head := model.get_output_embeddings()) is not None:
        head.register_forward_pre_hook(_in_one_piece)
    return model


def _in_one_piece(module: Any, given: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Make the last hidden states, (rows, 1, width), contiguous. They are a view into a longer prompt's; in half
    precision torch would multiply each row by its own copy of the vocabulary matrix (77 MB a row for distilgpt2)."""
    del module
    return (given[0].contiguous(), *given[1:])


def _longest(prompt: Prompt) -> int:
    """The tokens of a row at most: prompt and reply."""
    return len(prompt.tokens) + prompt.rules.max_new_tokens


def rules_for(params: OracleParams, chat: bool) -> Rules:
    """The job's sampling rules, with the defaults of the kind of model for parameters not set. Pure."""
    usual = CHAT if chat else PLAIN
    given = {name: getattr(params, name) for name in Rules.__dataclass_fields__}
    return Rules(**{name: getattr(usual, name) if value is None else value for name, value in given.items()})


class Oracle:
    """`ReplyRequest` → `Reply`. The reply depends on the prompt and the checkpoint, not on the batch."""

    name = "oracle"

    def __init__(self, weights: "Weights", settings: Settings) -> None:
        self.weights, self.settings = weights, settings
        self.model: Model = None
        self._tokenizer: Tokenizer = None
        self._prefix: list[int] | None = None
        self._decoder: Decoder | None = None  # None: the model's own forward pass
        self._read: Any = None  # keys and values of the prefix: on the device, so dropped with the weights
        self._kept = KeptPrefix()  # the same on the host: stays
        self._mark: Hashable = None  # of the weights that are loaded
        self.slots = SLOTS

    @property
    def weights_bytes(self) -> int:
        return int(self.weights.nbytes)

    def working_bytes(self, batch: int) -> int:
        """Keys and values of so many rows of `ROW_TOKENS`, activations of the prompt pass, and float32 logits."""
        config = self.weights.config
        heads = int(config.num_attention_heads)
        width = int(config.hidden_size)
        kept = 2 * int(getattr(config, "num_key_value_heads", None) or heads)
        kept *= int(getattr(config, "head_dim", None) or width // heads)
        inner = int(getattr(config, "intermediate_size", None) or getattr(config, "n_inner", None) or 4 * width)
        size = int(getattr(getattr(self.weights, "dtype", None), "itemsize", 4))
        tokens = batch * ROW_TOKENS
        cache = tokens * int(config.num_hidden_layers) * kept * size
        exact = batch * EXACT * width * (size + 4) if size < 4 else 0  # rows of the head, in both types
        return cache + tokens * (6 * width + 3 * inner) * size + batch * int(config.vocab_size) * 3 * 4 + exact

    def size(self, batch: Sequence[Prompt]) -> int:
        """The rows, each as wide as the widest of the batch: a row of at most `ROW_TOKENS` counts 1."""
        widest = max((_longest(prompt) for prompt in batch), default=0)
        return max(1, len(batch) * -(-widest // ROW_TOKENS))

    def load(self) -> None:
        self._mark = self.weights.mark()  # before: what is written during the load makes the next one another
        self.model = self.weights.load()
        self._decoder = decoder_of(self.model, LONGEST)

    def unload(self) -> None:
        self.model = self._decoder = self._read = None
        self.weights.unload()

    def prefetch(self) -> None:
        self.weights.prefetch()

    @property
    def decoder(self) -> Decoder | None:
        """What computes the logits; None: the model's own forward pass, or no model is loaded."""
        return self._decoder

    @property
    def tokenizer(self) -> Any:
        """Loaded on first use and kept, since it has no weights."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.weights.folder)
        return self._tokenizer

    @property
    def chat(self) -> bool:
        """Whether the tokenizer has a chat template."""
        return bool(self.tokenizer.chat_template)

    def cost(self, request: ReplyRequest) -> float:
        """Steps of the model: one for each new token at most, and a constant for the prompt. 1 if nothing was said."""
        if request.intent.label == "noise":
            return 1.0
        return float(_PROMPT_COST + (request.params.max_new_tokens or PLAIN.max_new_tokens))

    def prepare(self, request: ReplyRequest) -> Reply | Ready[Prompt]:
        """A Ready with the prompt's tokens, or an empty Reply if nothing was said. Raises BadRequest if the prompt
        does not fit into the context."""
        if request.intent.label == "noise":
            return Reply(text="", prompt="", seed=request.seed, new_tokens=0)
        rules = rules_for(request.params, self.chat)
        context = min(context_of(self.weights.config, self.tokenizer), LONGEST_PROMPT + rules.max_new_tokens)
        room = context - rules.max_new_tokens
        labels = in_language(request.labels, request.language)
        said = harmless(request.text[:100_000], self.tokenizer)
        prompt = prompts.prompt_for(said, request.intent, labels)
        tokens = self._tokens(prompt, labels.turns)
        if len(tokens) > room:  # some scripts take several tokens per letter: quote less
            less = cut_to(prompts.quoted(said), max(8, room // 4), self.tokenizer)
            prompt = prompts.prompt_for(less, request.intent, labels)
            tokens = self._tokens(prompt, labels.turns)
        if len(tokens) > room or room < 1:
            raise BadRequest(
                f"The reply prompt of {request.intent.label!r} has {len(tokens)} tokens but only {max(room, 0)} are "
                f"left in the oracle's context of {context} beside {rules.max_new_tokens} new ones: shorten the prompt."
            )
        return Ready(Prompt(prompt, tokens, rules, request.seed, self.chat and request.params.max_new_tokens is None))

    def run(self, batch: Sequence[Prompt]) -> list[Reply | GolemError]:
        """A Reply for each Prompt, or a ModelCorrupt if its logits are not finite."""
        replies: dict[int, Reply | GolemError] = {}
        self.run_each(batch, replies.__setitem__, lambda _: ())
        return [replies[place] for place in range(len(batch))]

    def run_each(
        self,
        batch: Sequence[Prompt],
        give: Callable[[int, Reply | GolemError], None],
        more: Callable[[int], Sequence[Prompt]],
    ) -> None:
        """Run a batch in which rows that are done make room for others (`Streaming` in `workers/stages/engine.py`)."""
        assert self.model is not None, "the oracle ran while it was not loaded"
        queue = Queue(batch, more, self._begins_with_prefix, _longest)
        planned = max(self.slots, self.size(batch[: self.slots]))
        while first := queue.begin(self.slots, lambda prompts: self.size(prompts) <= planned):
            places = dict[Row, tuple[int, Prompt]]()
            shared = self.prefix if self._begins_with_prefix(first[0]) else []
            length = -(-max(map(_longest, first)) // BUCKET) * BUCKET

            def waiting(free: int) -> list[Row]:
                taken = queue.take(free, length)  # noqa: B023  called in this pass of the loop only
                rows = [self._row(prompt, len(shared)) for _, prompt in taken]  # noqa: B023
                places.update(zip(rows, taken, strict=True))  # noqa: B023
                return rows

            def done(row: Row) -> None:
                place, prompt = places.pop(row)  # noqa: B023
                give(place, self._reply(prompt, row))

            generate(self._texts(min(self.slots, len(first)), length, shared), self._ends(), waiting, done)

    def _begins_with_prefix(self, prompt: Prompt) -> bool:
        count = len(self.prefix)
        return 0 < count < len(prompt.tokens) and list(prompt.tokens[:count]) == self.prefix

    def _row(self, prompt: Prompt, start: int) -> Row:
        return Row(prompt.tokens[start:], prompt.rules, prompt.seed, self._ending(prompt))

    def _texts(self, slots: int, length: int, prefix: list[int]) -> Texts:
        """So many free slots, for texts that begin with this prefix."""
        if self._decoder is None:
            if prefix and self._read is None:
                self._read = foreign.read_prefix(self.model, prefix)
            return foreign.ForeignTexts(self.model, slots, self._ends(), prefix, self._read)
        dtype, device = self.weights.dtype, self.model.device
        if prefix and self._read is None:
            decoder = self._decoder
            self._read = self._kept.of(self._mark, device, lambda: read_prefix(decoder, prefix, dtype, device))
        read = self._read if prefix else None
        return SlottedTexts(self._decoder, slots, length, self._ends(), read, dtype, device)

    def _reply(self, prompt: Prompt, row: Row) -> Reply | GolemError:
        if row.broken:
            self._kept.drop()
            return not_finite(self.weights, "logits")
        text = prompts.reply_text(self._text(row.new), prompt.text, row.complete, quotes=not self.chat)
        return Reply(text=text, prompt=prompt.text, seed=prompt.seed, new_tokens=len(row.new))

    def _ending(self, prompt: Prompt) -> Callable[[Sequence[int]], bool]:
        """The predicate that ends a row early: after one sentence, or when the quotation is closed."""
        if self.chat:
            return lambda new: prompt.one_sentence and prompts.has_sentence(self._text(new), prompt.text)
        return lambda new: prompts.closes_quote(prompt.text, self._text(new))

    def _text(self, tokens: Sequence[int]) -> str:
        return str(self.tokenizer.decode(list(tokens), skip_special_tokens=True))

    def _ends(self) -> frozenset[int]:
        """The end tokens named by the generation config, the config and the tokenizer."""
        generation = getattr(self.model, "generation_config", None)
        given = [getattr(generation, "eos_token_id", None), getattr(self.weights.config, "eos_token_id", None)]
        ends = {self.tokenizer.eos_token_id}
        for entry in given:
            ends |= set(entry) if isinstance(entry, (list, tuple)) else {entry}
        return frozenset(int(end) for end in ends if end is not None)

    @property
    def prefix(self) -> list[int]:
        """The tokens that every prompt of a chat model starts with: read once, not once per job."""
        if self._prefix is None:
            self._prefix = prompts.shared_start([self._tokens("A"), self._tokens("some other")]) if self.chat else []
        return self._prefix

    def _tokens(self, prompt: str, examples: Sequence[Turn] = ()) -> tuple[int, ...]:
        if not self.chat:
            found = self.tokenizer(prompt, verbose=False)["input_ids"]
            return tuple(found) or (self.tokenizer.bos_token_id or 0,)
        turns = prompts.chat_turns(prompt, examples or prompts.TURNS)
        try:
            return self._chat_tokens(turns)
        except Exception as exc:  # noqa: BLE001  templates raise jinja's errors; some support no system role
            system, first, *others = turns
            merged = {"role": "user", "content": f"{system['content']}\n\n{first['content']}"}
            try:
                return self._chat_tokens([merged, *others])
            except Exception:  # noqa: BLE001
                raise ModelCorrupt(
                    f"The chat template in {self.weights.folder} cannot be used ({exc}): choose another oracle."
                ) from None

    def _chat_tokens(self, turns: list[dict[str, str]]) -> tuple[int, ...]:
        text = self.tokenizer.apply_chat_template(turns, add_generation_prompt=True, tokenize=False)
        return tuple(self.tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])

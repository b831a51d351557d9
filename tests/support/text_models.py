"""Random models, small or in full size, and their tokenizers, for the tests of Interpreter and Oracle."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import (
    AutoConfig,
    BartConfig,
    BartForSequenceClassification,
    BartTokenizer,
    BertConfig,
    BertModel,
    BertTokenizer,
    GPT2Config,
    GPT2LMHeadModel,
    GPT2Tokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

from golem_chain.workers.store.load import Weights

SENTENCES = [
    "turn on the lights in the kitchen please",
    "what is the weather like tomorrow in the city",
    "play some music and stop when I say stop",
    "This text is about casting a spell or summoning a creature.",
    'I say: "Open the gate." You are opening the gate. You answer: "',
    "The quick brown fox jumps over the lazy dog, 0123456789 times.",
]
TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


class Held(Weights):
    """A stand-in for `Weights`: a folder, its config, and a model created once."""

    def __init__(self, folder: Path, model: Any) -> None:
        self._folder, self.model = folder, model
        self.config = AutoConfig.from_pretrained(folder)
        self.dtype = torch.float32
        self.bits = self.product = None
        self.nbytes = sum(parameter.nbytes for parameter in model.parameters())
        self.loads = 0

    @property
    def folder(self) -> Path:
        return self._folder

    def mark(self) -> Hashable:
        return (id(self.model), self.dtype)

    def load(self) -> Any:
        self.loads += 1
        return self.model

    def unload(self) -> None:
        pass


def byte_tokens(folder: Path, specials: list[str]) -> tuple[dict[str, int], list[tuple[str, str]]]:
    """Return a byte-level BPE with a few hundred tokens as (vocabulary, merges)."""
    trained = ByteLevelBPETokenizer()
    trained.train_from_iterator(SENTENCES * 4, vocab_size=600, special_tokens=specials, show_progress=False)
    trained.save_model(str(folder))
    pairs = (line.split(" ") for line in (folder / "merges.txt").read_text().splitlines()[1:])
    return json.loads((folder / "vocab.json").read_text()), [(first, second) for first, second in pairs]


def bart(folder: Path, *, full: bool, **settings: Any) -> Held:
    """Return a BART classifier in the shape of valhalla/distilbart-mnli-12-3, or a small one."""
    torch.manual_seed(7)
    vocab, merges = byte_tokens(folder, ["<s>", "<pad>", "</s>", "<unk>", "<mask>"])
    BartTokenizer(vocab=vocab, merges=merges, model_max_length=1024 if full else 64).save_pretrained(folder)
    shape = {"d_model": 1024, "ffn": 4096, "heads": 16, "up": 12, "down": 3, "vocab": 50265, "positions": 1024}
    if not full:
        shape = {"d_model": 32, "ffn": 64, "heads": 2, "up": 2, "down": 1, "vocab": 700, "positions": 64}
    settings = {"id2label": {0: "contradiction", 1: "neutral", 2: "entailment"}} | settings
    config = BartConfig(
        vocab_size=shape["vocab"], d_model=shape["d_model"], max_position_embeddings=shape["positions"],
        encoder_layers=shape["up"], decoder_layers=shape["down"], encoder_ffn_dim=shape["ffn"],
        decoder_ffn_dim=shape["ffn"], encoder_attention_heads=shape["heads"], decoder_attention_heads=shape["heads"],
        label2id={name: number for number, name in settings["id2label"].items()},
        init_std=0.05,  # with the usual 0.02, random weights score all labels almost equally
        **settings,
    )  # fmt: skip
    model = BartForSequenceClassification(config).eval()
    config.architectures = ["BartForSequenceClassification"]
    config.save_pretrained(folder)
    return Held(folder, model)


def bert(folder: Path) -> Held:
    """Return a small sentence encoder."""
    torch.manual_seed(7)
    words = sorted({word.lower() for sentence in SENTENCES for word in sentence.split()})
    vocab = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *words, *"abcdefghijklmnopqrstuvwxyz"]
    vocab += [f"##{letter}" for letter in "abcdefghijklmnopqrstuvwxyz"]
    vocab = list(dict.fromkeys(vocab))
    BertTokenizer(vocab={word: number for number, word in enumerate(vocab)}, model_max_length=32).save_pretrained(
        folder
    )
    config = BertConfig(
        vocab_size=len(vocab), hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=64,
        max_position_embeddings=32,
    )  # fmt: skip
    model = BertModel(config).eval()
    config.architectures = ["BertModel"]
    config.save_pretrained(folder)
    return Held(folder, model)


def gpt2(folder: Path, *, full: bool) -> Held:
    """Return a GPT-2 in the shape of distilgpt2, or a small one."""
    torch.manual_seed(7)
    vocab, merges = byte_tokens(folder, ["<|endoftext|>"])
    GPT2Tokenizer(vocab=vocab, merges=merges, model_max_length=1024).save_pretrained(folder)
    small = {"n_layer": 2, "n_head": 2, "n_embd": 32}
    shape = {"n_layer": 6, "n_head": 12, "n_embd": 768, "vocab_size": 50257} if full else small
    config = GPT2Config(**{"vocab_size": 700, "n_positions": 1024} | shape, bos_token_id=0, eos_token_id=0,
                        initializer_range=0.1)  # fmt: skip
    model = GPT2LMHeadModel(config).eval()
    config.architectures = ["GPT2LMHeadModel"]
    config.save_pretrained(folder)
    return Held(folder, model)


def llama(folder: Path) -> Held:
    """Return a small chat model."""
    torch.manual_seed(7)
    vocab, merges = byte_tokens(folder, ["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
    plain = GPT2Tokenizer(vocab=vocab, merges=merges, model_max_length=2048)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=plain.backend_tokenizer, bos_token="<|im_start|>", eos_token="<|im_end|>",
        pad_token="<|im_end|>", model_max_length=2048, chat_template=TEMPLATE,
    )  # fmt: skip
    tokenizer.save_pretrained(folder)
    config = LlamaConfig(
        vocab_size=700, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, bos_token_id=1, eos_token_id=2, initializer_range=0.2,
    )  # fmt: skip
    model = LlamaForCausalLM(config).eval()
    config.architectures = ["LlamaForCausalLM"]
    config.save_pretrained(folder)
    return Held(folder, model)

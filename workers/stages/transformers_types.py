"""Names for objects of transformers, which ships no type information: they say what an argument is."""

from typing import Any

#: A `PreTrainedModel`: `WhisperForConditionalGeneration`, a sequence classifier, an encoder, a causal language model.
Model = Any
#: A `PreTrainedTokenizerBase`.
Tokenizer = Any
#: A `PreTrainedConfig`.
ModelConfig = Any

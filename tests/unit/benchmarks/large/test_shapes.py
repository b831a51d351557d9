"""The shapes of larger models are the published ones."""

import pytest
import torch
import transformers

from golem_chain.benchmarks.large.shapes import ALL, SETS, TOKENS
from golem_chain.workers.store.skeleton import Skeleton


@pytest.mark.parametrize("shape", ALL, ids=lambda shape: shape.name)
def test_a_shape_has_as_many_weights_as_the_published_files(shape):
    given = {key: value for key, value in shape.config.items() if key != "max_target_positions"}
    config = getattr(transformers, shape.config_class)(**given)
    model = Skeleton(getattr(transformers, shape.model_class), config, torch.bfloat16).model
    assert sum({id(one): one.numel() for one in model.parameters()}.values()) == shape.weights


def test_each_set_is_a_whole_chain():
    for shapes in SETS.values():
        assert [shape.stage for shape in shapes] == ["scribe", "interpreter", "oracle"]


def test_whisper_has_room_for_the_prompt_and_ten_tokens():
    rooms = {shape.config["max_target_positions"] for shape in ALL if shape.stage == "scribe"}
    assert rooms == {4 + TOKENS}

"""A tiny sentence encoder as an ONNX file, with its tokenizer."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

WORDS = ["[PAD]", "[UNK]", "[CLS]", "red", "blue", "shoe", "coffee"]
TABLE = np.array(
    [[9, 9, 9], [0, 0, 0], [0, 0, 1], [1, 0, 0], [0, 1, 0], [1, 1, 0], [0, 0, -2]], np.float32
)
"""The vector of each token; that of the padding must not be read."""


def write_tokenizer(folder: Path) -> None:
    words = {word: k for k, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 2)]
    )
    tokenizer.enable_padding(length=16)  # a fixed length, as many published tokenizers have
    tokenizer.save(str(folder / "tokenizer.json"))


def write_model(
    path: Path, inputs=("input_ids", "attention_mask"), pooled=False, **options
) -> None:
    """Looks up the vectors of the tokens; `pooled`: the model takes the last token's itself."""
    nodes = [helper.make_node("Gather", ["table", inputs[0]], ["tokens"])]
    shape, name = ["b", "l", 3], "tokens"
    if pooled:
        nodes.append(helper.make_node("Gather", ["tokens", "last"], ["sentence_embedding"], axis=1))
        shape, name = ["b", 3], "sentence_embedding"
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)]
    if pooled:
        outputs.insert(0, helper.make_tensor_value_info("tokens", TensorProto.FLOAT, ["b", "l", 3]))
    graph = helper.make_graph(
        nodes,
        "encoder",
        [helper.make_tensor_value_info(i, TensorProto.INT64, ["b", "l"]) for i in inputs],
        outputs,
        [
            numpy_helper.from_array(TABLE, "table"),
            numpy_helper.from_array(np.array(-1, np.int64), "last"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.parent.mkdir(parents=True, exist_ok=True)
    onnx.save(model, str(path), **options)


@pytest.fixture(name="write_tokenizer")
def tokenizer_writer() -> Callable[[Path], None]:
    return write_tokenizer


@pytest.fixture(name="write_model")
def model_writer() -> Callable[..., None]:
    return write_model

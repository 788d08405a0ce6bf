from ._hashing import ngram_lists
from .declared import declared_width, load_text_encoder, text_encoder
from .ngrams import NGramEncoder
from .onnx_encoder import OnnxEncoder
from .protocols import TextEncoder

__all__ = [
    "NGramEncoder",
    "OnnxEncoder",
    "TextEncoder",
    "declared_width",
    "load_text_encoder",
    "ngram_lists",
    "text_encoder",
]

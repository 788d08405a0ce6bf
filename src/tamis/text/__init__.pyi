from .declared import declared_width, load_text_encoder, text_encoder
from .ngrams import NGramEncoder
from .protocols import TextEncoder

__all__ = [
    "NGramEncoder",
    "TextEncoder",
    "declared_width",
    "load_text_encoder",
    "text_encoder",
]

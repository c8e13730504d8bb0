"""The encoding of a text column: from strings to token ids.

Tokens are those of `keras.layers.TextVectorization` as it comes: ASCII letters in lower case, its punctuation taken
out, split at ASCII white space. They are made here on bytes, because the driver never imports keras.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import numpy.typing as npt

from automl.data.raw import Batch
from automl.dataset_spec import InputKind, InputSpec

PADDING_ID = 0
UNKNOWN_ID = 1
FIRST_ID = 2
MOST_TOKENS = 20_000
"""Size of the vocabulary at most, padding and unknown included."""

LONGEST_ROW = 1024
"""Tokens of a row at most; later ones are cut off."""

_LENGTH_QUANTILE = 0.95
_MANY_ROWS = 1000  # from here on a token must occur twice
_COMMON_CHUNK = 200_000  # tokens kept while counting, so that memory stays bounded
_PUNCTUATION = b"!\"#$%&()*+,-./:;<=>?@[\\]^_`{|}~'"


def tokens(text: str) -> list[bytes]:
    """Return the tokens of a text.

    Example:
        >>> tokens("Don't stop, it's GOOD")
        [b'dont', b'stop', b'its', b'good']
    """
    return text.encode("utf-8", "replace").lower().translate(None, _PUNCTUATION).split()


@dataclass(frozen=True, kw_only=True)
class TextEncoding:
    """How a text column becomes token ids: 0 padding, 1 unknown, then the vocabulary.

    Attributes:
        column: The column's name.
        input_name: Name of the encoded input.
        vocabulary: Tokens of the training rows, the most frequent first.
        length: Tokens a row; shorter rows are padded at their end, longer ones cut off.
        token_weights: Inverse document frequency of each id: ln((1 + n) / (1 + df)) + 1, as scikit-learn smooths it;
            0 for padding and unknown words.
    """

    name: ClassVar[str] = "text"
    dtype: ClassVar[str] = "int32"

    column: str
    input_name: str
    vocabulary: tuple[str, ...]
    length: int
    token_weights: tuple[float, ...]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of one encoded row."""
        return (self.length,)

    def encode(self, batch: Batch) -> npt.NDArray[np.int32]:
        """Encode raw rows: shape (n, length), int32."""
        ids = {token.encode(): index for index, token in enumerate(self.vocabulary, FIRST_ID)}
        encoded = np.full((len(batch[self.column]), self.length), PADDING_ID, dtype=np.int32)
        for row, text in zip(encoded, batch[self.column], strict=True):
            found = [ids.get(token, UNKNOWN_ID) for token in tokens(text)[: self.length]]
            row[: len(found)] = found
        return encoded

    def input_spec(self) -> InputSpec:
        """Return what searched models know of it."""
        return InputSpec(
            name=self.input_name,
            kind=InputKind.TEXT,
            shape=self.shape,
            sizes=(len(self.vocabulary) + FIRST_ID,),
            token_weights=self.token_weights,
        )


class TextFitter:
    """Fits a `TextEncoding`."""

    def __init__(self, column: str, input_name: str) -> None:
        """Name the column, and the input that it becomes."""
        self._column = column
        self._input_name = input_name
        self._counts: Counter[bytes] = Counter()
        self._rows_with: Counter[bytes] = Counter()
        self._lengths: Counter[int] = Counter()

    def see(self, batch: Batch) -> None:
        """Take training rows into account."""
        for text in batch[self._column]:
            found = tokens(text)
            self._lengths[len(found)] += 1
            self._counts.update(found)
            self._rows_with.update(set(found))
        if len(self._counts) > 2 * _COMMON_CHUNK:
            kept = dict(self._counts.most_common(_COMMON_CHUNK))
            self._counts = Counter(kept)
            self._rows_with = Counter({token: self._rows_with[token] for token in kept})

    def fit(self) -> TextEncoding:
        """Return the encoding."""
        rows = self._lengths.total()
        fewest = 2 if rows >= _MANY_ROWS else 1
        often = [token for token, count in self._counts.items() if count >= fewest and _is_text(token)]
        often.sort(key=lambda token: (-self._counts[token], token))
        chosen = often[: MOST_TOKENS - FIRST_ID]
        weights = [self._weight(rows, self._rows_with[token]) for token in chosen]
        return TextEncoding(
            column=self._column,
            input_name=self._input_name,
            vocabulary=tuple(token.decode() for token in chosen),
            length=self._usual_length(),
            token_weights=(0.0, 0.0, *weights),
        )

    @staticmethod
    def _weight(rows: int, rows_with: int) -> float:
        return round(math.log((1 + rows) / (1 + rows_with)) + 1, 4)

    def _usual_length(self) -> int:
        lengths = np.array(sorted(self._lengths.elements()) or [1])
        usual = int(np.quantile(lengths, _LENGTH_QUANTILE, method="higher"))
        return min(max(usual, 1), LONGEST_ROW)


def _is_text(token: bytes) -> bool:
    """Return False for what a cut or broken character left behind: a vocabulary holds text."""
    try:
        token.decode()
    except UnicodeDecodeError:
        return False
    return True

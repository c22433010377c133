"""What a configuration says about an architecture: depth, width, longest text, encoder or decoder.

Transformers' own `AutoConfig` knows each family's names for these. What it says is remembered by
the content of the configuration, so a rerun that finds every row in the cache does not import
Transformers at all.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from featcache.backbone.fingerprint import Memory, read_config
from featcache.errors import BackboneError, first_line

if TYPE_CHECKING:
    from transformers import PretrainedConfig

# These families number positions from padding_idx + 1, so their tables have that many rows more
# than positions.
_SHIFTED_POSITIONS = {
    "camembert",
    "data2vec-text",
    "ibert",
    "lilt",
    "longformer",
    "luke",
    "mpnet",
    "roberta",
    "roberta-prelayernorm",
    "xlm-roberta",
    "xlm-roberta-xl",
    "xmod",
}
_NO_LIMIT = 10**6  # tokenizers say "no limit" with numbers such as 1e30


@dataclass(frozen=True)
class Facts:
    """Facts of an architecture.

    Attributes:
        n_layers: Number of blocks, without the embedding output.
        hidden_size: Width of a state.
        limit: Most tokens of one text; None without a limit.
        decoder: Whether it is a causal language model.
    """

    n_layers: int
    hidden_size: int
    limit: int | None
    decoder: bool


def facts_of(folder: Path, memory: Memory, *, trust_remote_code: bool = False) -> Facts:
    """Read the facts of the model in a folder, or remember them.

    Args:
        folder: The model's folder.
        memory: Remembers facts between runs.
        trust_remote_code: Whether Python code in the folder may run.

    Returns:
        The facts.

    Raises:
        BackboneError: The installed Transformers does not know the type of the model, or the model
            takes no text.
    """
    raw = json.dumps([read_config(folder), _tokenizer_limit(folder)], sort_keys=True)
    name = f"facts {version('transformers')} {hashlib.sha256(raw.encode()).hexdigest()}"
    known = memory.get(name)
    if known is not None:
        return Facts(**json.loads(known))
    facts = _read_facts(folder, trust_remote_code=trust_remote_code)
    memory.put(name, json.dumps(asdict(facts)))
    return facts


def _read_facts(folder: Path, *, trust_remote_code: bool) -> Facts:
    """Facts as Transformers reads them."""
    from transformers import AutoConfig

    try:
        config = AutoConfig.from_pretrained(str(folder), trust_remote_code=trust_remote_code)
        text = config.get_text_config()
        n_layers, hidden_size = int(text.num_hidden_layers), int(text.hidden_size)
    except (ValueError, KeyError, AttributeError, OSError) as error:
        reason = f"no text model that Transformers can load: {first_line(error)}"
        raise BackboneError(
            f"{folder / 'config.json'} describes {reason}",
            cure="Give a text model; a newer one may need a newer Transformers.",
        ) from error
    return Facts(n_layers, hidden_size, _limit(text, folder), _is_decoder(config))


def _limit(config: PretrainedConfig, folder: Path) -> int | None:
    """Most tokens of one text."""
    positions = getattr(config, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        if config.model_type in _SHIFTED_POSITIONS:
            padding = getattr(config, "pad_token_id", None)
            if padding is None:
                padding = 1
            return positions - padding - 1
        return positions
    # Relative positions (T5) have no end; the tokenizer says what the model was trained on.
    return _tokenizer_limit(folder)


def _tokenizer_limit(folder: Path) -> int | None:
    """Most tokens of one text according to the tokenizer."""
    try:
        limit = json.loads((folder / "tokenizer_config.json").read_text("utf-8")).get(
            "model_max_length"
        )
    except (OSError, ValueError):
        return None
    return int(limit) if isinstance(limit, int | float) and 0 < limit < _NO_LIMIT else None


def _is_decoder(config: PretrainedConfig) -> bool:
    """Whether this is a causal language model, whose last token alone sees the whole text."""
    from transformers.models.auto import modeling_auto

    if config.is_encoder_decoder:
        return False  # its encoder is what is used
    if getattr(config, "is_decoder", False):
        return True
    kind = config.model_type
    return (
        kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and kind not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )

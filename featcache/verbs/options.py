"""Every option once: its name, type, default, choices and one sentence of help.

The command line makes its options from this table, `docs/cli.md` lists them, and the commands that
messages name are written with it. Tests hold the signatures of the verbs and the words that other
rooms check to it. Nothing heavy is imported here, because `featcache --help` reads this file.
"""

from __future__ import annotations

from featcache.features.commands import DEFAULT_CACHE
from featcache.runs.command import Command, Option

# -- options that several commands have ------------------------------------------------------------

ENCODING = Option("encoding", "Encoding of CSV, TSV and JSONL files.", default="utf-8")
TEXT = Option("text", "Column of the texts [text, sentence, or the only one].", metavar="COLUMN")
TEMPLATE = Option(
    "template", 'Text made of columns, e.g. "Title: {title} Body: {body}".', metavar="STR"
)
SKIP_EMPTY = Option(
    "skip_empty",
    "Go on without rows whose text is empty or missing.",
    kind="switch",
    default=False,
)
TEXTS = (TEXT, TEMPLATE, SKIP_EMPTY, ENCODING)

CACHE = Option("cache", "Folder of the cache.", default=DEFAULT_CACHE, metavar="DIR")
JSON = Option("as_json", "Print one JSON object on stdout.", kind="switch", flag="--json")
LABEL = Option("label", "Column of labels.", metavar="COLUMN", required=True)
LABELS = LABEL.but(name="labels", flag="--label", repeated=True)
VALIDATION = Option("validation", "Rows to choose on.", metavar="FILE", repeated=True)
TEST = Option("test", "Rows to read once, at the end.", metavar="FILE", repeated=True)
SPLIT = Option("split", "Shares of the parts.", metavar="SHARES")
STRICT = Option(
    "strict",
    "A text in two parts is an error instead of being dropped from training.",
    kind="switch",
    default=False,
)
OUT = Option("out", "What to write.", metavar="DIR")
SEED = Option(
    "seed",
    "Seed of the split and the training.",
    kind="integer",
    default=0,
    lowest=0,
    highest=2**32 - 1,
)

# -- the backbone ----------------------------------------------------------------------------------

BACKBONE = Option("backbone", "Use the space of this model.", metavar="ID_OR_PATH")
MODEL = BACKBONE.but(help="Model folder, or hub id.", required=True)
LAYERS = Option("layers", "Try these layers only [all that are cached].", metavar="LIST")
POOLING = Option(
    "pooling", "Try these poolings only [all that are cached].", flag="--pool", metavar="LIST"
)
MAX_LENGTH = Option(
    "max_length",
    "Tokens kept of a text [the model's limit, at most 512].",
    kind="integer",
    lowest=1,
)
DEVICE = Option("device", "Where to run.", default="auto", choices=("auto", "cpu", "cuda", "mps"))
ALLOW_PICKLE = Option(
    "allow_pickle",
    "Load pickled weights, which can run code. Only if you trust them.",
    kind="switch",
    default=False,
)
TRUST_REMOTE_CODE = Option(
    "trust_remote_code",
    "Run Python code that the model brings. Only if you trust it.",
    kind="switch",
    default=False,
)
TRUST = (ALLOW_PICKLE, TRUST_REMOTE_CODE)
CONTRACT = (
    LAYERS.but(help="auto, all, last, or numbers such as 0,3,6.", default="auto", metavar=None),
    POOLING.but(help="Of mean,cls,last,max [encoders mean,cls; decoders mean,last]."),
    MAX_LENGTH,
    Option(
        "dtype",
        "Number type of the pass.",
        default="auto",
        choices=("auto", "float32", "bfloat16", "float16"),
    ),
)

# -- heads and their search ------------------------------------------------------------------------

SPACE = Option("space", "Use this space (or the one whose name begins so).", metavar="NAME")
METRIC = Option(
    "metric",
    "What the choice goes by.",
    default="macro_f1",
    choices=("macro_f1", "accuracy", "weighted_f1", "mcc"),
)
BALANCE = Option(
    "balance",
    "For classes of unequal size.",
    default="none",
    choices=("none", "weights", "oversample", "undersample"),
)
SEARCH = (
    METRIC,
    Option(
        "search",
        "How candidates are searched.",
        default="halving",
        choices=("halving", "grid", "random", "optuna"),
    ),
    Option("trials", "Candidates to try [128; grid: all].", kind="integer", metavar="N"),
    Option(
        "seconds",
        "Stop searching each label after this time; close heads are then not compared in folds.",
        kind="number",
        flag="--time",
        metavar="SECONDS",
    ),
    Option(
        "cv",
        "Choose by K folds over training and validation rows.",
        kind="integer",
        metavar="K",
    ),
    Option(
        "seeds", "Number of seeds that each candidate is trained with.", kind="integer", default=1
    ),
    BALANCE,
    Option(
        "focal",
        "Exponent of the focal loss, e.g. 2; 0 is cross-entropy. Not for logreg.",
        kind="number",
        default=0.0,
        metavar="GAMMA",
    ),
    Option(
        "thresholds",
        "Decide labels by thresholds tuned on validation rows for macro-F1.",
        kind="switch",
        default=False,
    ),
)
HEADS = Option("heads", "Kinds of head to try.", kind="names", default=("linear", "mlp", "logreg"))
DEPTHS = Option(
    "depths",
    "Numbers of hidden layers of mlp, up to 8; 0 is linear.",
    kind="integers",
    default=(1, 2),
)
WIDTHS = Option("widths", "Widths of mlp's hidden layers.", kind="integers", default=(64, 256))
VIEWS = Option(
    "views", "Kinds of view to try.", kind="names", default=("single", "layers", "poolings", "mix")
)
SHAPES = (
    HEADS,
    DEPTHS,
    WIDTHS,
    Option(
        "activation",
        "Activation of mlp's hidden layers.",
        default="gelu",
        choices=("gelu", "relu", "silu"),
    ),
    Option("layer_norm", "Normalise mlp's hidden layers.", kind="switch", default=False),
    Option(
        "residual",
        "Add the layer before to each of mlp's hidden layers.",
        kind="switch",
        default=False,
    ),
    LAYERS,
    POOLING,
    VIEWS,
)

# -- the commands ----------------------------------------------------------------------------------

DEMO = Command(
    "demo", (OUT.but(help="Folder for the data, cache and results.", default="demo"), JSON)
)
EXTRACT = Command(
    "extract",
    (
        MODEL,
        CACHE,
        *TEXTS,
        *CONTRACT,
        DEVICE,
        Option(
            "shard_rows",
            "Write a shard every N rows [64 MiB or 30 s].",
            kind="integer",
            metavar="N",
            lowest=1,
        ),
        Option(
            "attention",
            "How texts become batches; auto packs them end to end on CPUs, where the model can.",
            default="auto",
            choices=("auto", "packed", "padded"),
        ),
        Option(
            "compile",
            "torch.compile; auto uses it for 2 million tokens or more, on CPUs with AMX.",
            default="auto",
            choices=("auto", "on", "off"),
        ),
        *TRUST,
        Option("dry_run", "Say what would be computed, and write nothing.", kind="switch"),
        JSON,
    ),
)
CHECK = Command(
    "check",
    (
        LABELS.but(help="Column of labels; may be given again."),
        VALIDATION.but(help="Rows that heads are chosen on."),
        TEST.but(help="Rows that are read once, at the end."),
        BACKBONE.but(help="Its tokenizer says which texts are cut [a space that has all]."),
        MAX_LENGTH,
        TRUST_REMOTE_CODE,
        CACHE,
        STRICT.but(help="Exit with 2 where labels or test rows are given away."),
        *TEXTS,
        JSON,
    ),
)
FIT_HEADS = Command(
    "fit-heads",
    (
        LABELS.but(help="Column of labels; several: a head each."),
        VALIDATION.but(help="Rows to choose on [split from TRAIN]."),
        TEST.but(help="Rows to read once, at the end [split from TRAIN]."),
        SPLIT.but(help="train/validation/test shares [0.7/0.1/0.2; beside --test 0.8/0.2]."),
        CACHE,
        STRICT,
        BACKBONE,
        SPACE,
        *TEXTS,
        *SEARCH,
        *SHAPES,
        Option(
            "evidence",
            "Run experiments for a verdict, look for wrong labels and write the page [yes].",
            kind="switch",
            default=True,
            negated=True,
        ),
        SEED,
        OUT.but(help="Folder of the run; an earlier run in it is replaced [runs/DATA-LABEL]."),
        JSON,
    ),
)
CURVES = Command(
    "curves",
    (
        LABEL,
        VALIDATION.but(help="Rows to score on [split from TRAIN]."),
        TEST.but(help="Its texts are left out; nothing else of it is read."),
        SPLIT.but(help="train/validation shares [0.8/0.2]."),
        CACHE,
        STRICT,
        BACKBONE,
        SPACE,
        *TEXTS,
        METRIC.but(help="What is drawn."),
        BALANCE,
        HEADS.but(
            help="Kinds of simple head; the best of them is drawn beside the linear reference.",
            default=("logreg", "mlp"),
        ),
        DEPTHS.but(help="Hidden layers to compare; 0 is linear.", default=(0, 1, 2, 3, 4)),
        WIDTHS.but(help="Widths of hidden layers to compare."),
        LAYERS,
        POOLING,
        VIEWS,
        SEED.but(help="Seed of the split, the draws and the training."),
        JSON,
    ),
)
PREDICT = Command(
    "predict",
    (
        Option(
            "texts",
            "A text to label; may be given several times.",
            flag="--text",
            metavar="STR",
            repeated=True,
        ),
        Option("text_column", "Column of the texts in DATA [as in training].", metavar="COLUMN"),
        ENCODING.but(help="Encoding of DATA or stdin."),
        CACHE,
        BACKBONE.but(help="The backbone, where it is not where the bundle remembers it."),
        DEVICE,
        *TRUST,
        JSON.but(help="Changes nothing: the output is always JSON lines."),
    ),
)
REPORT = Command(
    "report",
    (
        OUT.but(help="The page [RUN/report.html; of several runs ./report.html].", metavar="FILE"),
        JSON,
    ),
)
LS = Command("ls", (CACHE, JSON))
INFO = Command("info", (CACHE, JSON))
EXPLAIN_MISS = Command("explain-miss", (MODEL, CACHE, *TEXTS, *CONTRACT, DEVICE, *TRUST, JSON))
VERIFY = Command(
    "verify",
    (
        CACHE,
        Option(
            "sample",
            "Check rows drawn at random: a share of them (0.01), or a number in each file (1000).",
            kind="share",
            metavar="N",
            alone="0.01",
        ),
        JSON,
    ),
)
REPAIR = Command("repair", (CACHE, JSON))
MERGE = Command("merge", (CACHE, JSON))
GC = Command(
    "gc",
    (
        CACHE,
        Option(
            "older_than",
            "Spaces that were last written to more than this many days ago.",
            kind="number",
            metavar="DAYS",
            lowest=0,
        ),
        Option(
            "unused_by",
            "Rows whose texts are not in these data.",
            metavar="DATA",
            repeated=True,
        ),
        *TEXTS,
        Option("yes", "Remove what is shown.", kind="switch"),
        JSON,
    ),
)
EXPORT = Command(
    "export",
    (
        CACHE,
        OUT.but(help="What to write [a folder named after the space].", metavar="PATH"),
        Option(
            "kind",
            "What to write [by the ending of --out].",
            flag="--format",
            choices=("numpy", "hdf5"),
        ),
        Option(
            "data", "Export the rows of these data, in their order.", metavar="DATA", repeated=True
        ),
        *TEXTS,
        LAYERS.but(help="all, last, or numbers such as 0,3,6.", default="all", metavar=None),
        POOLING.but(help="Of the poolings in the space [all]."),
        JSON,
    ),
)
COMMANDS = (
    DEMO,
    EXTRACT,
    CHECK,
    FIT_HEADS,
    CURVES,
    PREDICT,
    REPORT,
    LS,
    INFO,
    EXPLAIN_MISS,
    VERIFY,
    REPAIR,
    MERGE,
    GC,
    EXPORT,
)
BY_NAME = {command.name: command for command in COMMANDS}

"""Every knob, once: name, type, default, unit, one line.

`configs/X.py` starts from `default()`, a `ConfigDict` made from the dataclasses below, and changes a few fields. The
program turns it back with `resolve` at once, so that the rest of the code sees frozen, checked values only.
"""

import dataclasses
import json
import types
import typing
from collections.abc import Mapping
from typing import Any, Literal

from flan_jax import errors, knob_ranges
from flan_jax.mixture_config import FilterConfig, MixtureConfig, StageConfig, check_mixture, check_stages
from flan_jax.models.adapter_config import AdapterConfig, check_adapter
from flan_jax.models.config import ExecutionConfig, ModelConfig

Marker = Literal['dash', 'star', 'number', 'letter', 'bracket', 'parenthesis', 'plain']  # see `data.templates.MARKERS`
Instructions = Literal['natural', 'name', 'none']  # controls of Wei et al. 2021; see `data.formats.bare`


@dataclasses.dataclass(frozen=True)
class DataConfig:
    task_modules: tuple[str, ...] = ('tasks',)  # modules with `all_tasks()` or `TASKS`; later ones may add own data
    task_files: tuple[str, ...] = ()  # TOML files of own tasks, and folders of Natural Instructions tasks
    local_root: str | None = None  # folder of <task>/<split>.jsonl; where a task's file is there, it replaces TFDS
    local_only: bool = False  # leave out tasks of the mixture that have no local rows, instead of asking TFDS
    tfds_dir: str | None = None  # where TFDS keeps its files; None: its default
    store_root: str = 'stores'  # folder of token stores and trained vocabularies
    train_rows: int | None = None  # source rows read per task for training; None: all
    eval_rows: int = 100  # source rows read per task and evaluation split
    eval_splits: tuple[str, ...] = ('validation', 'test')  # the first one a task has is its evaluation split
    max_inputs: int = 384  # tokens of context kept of an example; more are cut on the left
    max_targets: int = 128  # tokens of one supervised span; an example with a longer one is dropped and counted
    template_draws: int = 1  # different templates each training row is rendered through
    held_out_templates: int = 2  # the last straight templates of each task are kept for evaluation
    prepare_workers: int | None = None  # processes; None: one a core
    keep_going: bool = False  # make the other tasks when one is broken, and say which is missing


@dataclasses.dataclass(frozen=True)
class VocabularyConfig:
    path: str | None = None  # a SentencePiece model; None: train one on the mixture
    train_size: int = 4096  # pieces, if it is trained
    train_rows: int = 2000  # rows a task it is trained on
    bos: bool = False  # begin every example with the model's BOS piece


@dataclasses.dataclass(frozen=True)
class FormatConfig:
    options_share: float = 1.0  # share of examples whose `{options}` are shown
    option_markers: tuple[Marker, ...] = ('dash',)  # pool of ways to list options, drawn per training example
    few_shot_share: float = 0.0  # share of training examples with exemplars before the query
    shots: int = 0  # exemplars in a few-shot example
    eval_shots: int = 0  # exemplars in an evaluation prompt
    exemplar_separators: tuple[str, ...] = ('\n\n',)  # pool of what stands between exemplars, drawn the same way
    inverted_share: float | None = None  # share of training examples turned around; None: as many as the templates
    rationale_share: float | None = None  # of chain-of-thought tasks: share that shows the reasoning; None: likewise
    separator: str = '\n'  # between input and target in decoder-only text (encoder-decoder models need none)
    chat: str | None = None  # chat template: 'tokenizer', a built-in one, or a .jinja file; None: plain text
    system: str | None = None  # system prompt of conversations that have none
    supervise: Literal['all', 'last'] = 'all'  # which of a conversation's assistant turns are trained on
    instructions: Instructions = 'natural'  # of training; controls show the fields behind the task's name, or alone
    eval_instructions: Instructions | None = None  # of evaluation prompts; None: as in training


@dataclasses.dataclass(frozen=True)
class PackingConfig:
    row_tokens: int = 512  # T of a decoder-only row
    encoder_tokens: int = 384  # T of the encoder's side
    decoder_tokens: int = 128  # T of the decoder's side
    pack: bool = True  # several examples a row; off: one each, padded
    window: int = 8192  # examples packed together; rates are exact in every window


@dataclasses.dataclass(frozen=True)
class ScheduleConfig:
    name: Literal['constant', 'linear', 'cosine', 'rsqrt', 'wsd'] = 'cosine'  # shape after warm-up
    warmup_steps: int = 0  # steps from 0 to the peak
    decay_share: float = 0.2  # wsd: share of the run that is the final decay
    final_share: float = 0.0  # learning rate at the end, as a share of the peak


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    name: Literal['adamw', 'adafactor', 'lion', 'muon'] = 'adamw'  # muon: for matrices, adamw for the rest
    learning_rate: float = 1e-3  # peak; for adafactor relative to each weight's own scale
    adam_learning_rate: float | None = None  # muon: for what is no matrix, and embeddings; None: the same
    b1: float = 0.9  # decay of the first moment (adamw, lion)
    b2: float = 0.95  # decay of the second moment (adamw, lion)
    momentum: float = 0.95  # muon
    eps: float = 1e-8  # adamw, muon
    weight_decay: float = 0.0  # decoupled, times the learning rate; never on norms and biases
    clip_norm: float | None = 1.0  # global gradient norm; None: off
    schedule: ScheduleConfig = ScheduleConfig()


@dataclasses.dataclass(frozen=True)
class TrainingConfig:
    steps: int | None = None  # optimizer steps; exactly one of `steps` and `epochs`
    epochs: float | None = None  # passes over the capped examples of the mixture
    batch_rows: int = 32  # rows of an optimizer step, over all devices and microbatches
    microbatches: int = 1  # parts the batch is computed in, one after the other
    z_loss: float = 0.0  # weight of log(Z)^2
    label_smoothing: float = 0.0  # share of the target spread over the vocabulary
    loss_chunk: int = 4096  # supervised positions a device computes logits for at once
    positions: int | None = None  # supervised positions with room in a device's microbatch, at least; None: the plan's
    max_nonfinite: int = 3  # steps in a row with a loss or gradient that is no number before the run ends


@dataclasses.dataclass(frozen=True)
class MeshConfig:
    data: int = -1  # devices that share nothing but gradients; -1: what the others leave
    fsdp: int = 1  # devices that share the weights
    context: int = 1  # devices that share a row
    tensor: int = 1  # devices that share heads and MLP


@dataclasses.dataclass(frozen=True)
class CheckpointConfig:
    every_steps: int = 500  # steps between saves; one is always made at the end
    keep_last: int = 2  # newest checkpoints kept
    keep_best: int = 1  # besides, the best by `best_score`; 0: off
    best_score: Literal['held_in', 'held_out_templates', 'held_out_clusters'] = 'held_in'  # mean score of this group
    warm_start: str | None = None  # weights a new run begins with: 'smollm2', a .gguf, a Hugging Face or run directory
    warm_start_leave: tuple[str, ...] = ()  # patterns of weights that are not taken from there, 'head.*'


@dataclasses.dataclass(frozen=True)
class EvaluationConfig:
    every_steps: int | None = None  # during training; None: only at the end
    rows: int = 16  # source rows a task and template in evaluations during training; at the end: all prepared
    at_end: bool = True  # score everything prepared after the last step
    max_new_tokens: int = 32  # of a generated answer
    batch_tokens: int = 16_384  # tokens of one batch of prompts or options
    normalise: Literal['sum', 'token', 'byte', 'pmi'] = 'sum'  # how the likelihoods of options are compared
    unconditional_prompt: str = 'Answer:\n'  # pmi: what an option's likelihood without its question comes after
    permute_options: int = 0  # other orders of listed options asked about at the end, of ranked tasks; 0: off
    content_free: bool = False  # at the end also ask ranked tasks with nothing in their fields
    without_instruction: bool = False  # at the end also ask with instructions shuffled word by word, and without them
    budget_s: float | None = None  # seconds of an evaluation during training: fewer `rows` if need be; None: no limit
    examples: int = 5  # of a task's worst answers shown in the report, and of its best


@dataclasses.dataclass(frozen=True)
class TelemetryConfig:
    every_steps: int = 10  # steps between metric lines
    tensorboard: bool = True  # event files in the run directory, besides metrics.jsonl
    progress: bool = True  # bar on standard error


@dataclasses.dataclass(frozen=True)
class Config:
    """A whole run."""

    name: str = 'run'  # of the run directory
    run_root: str = 'runs'  # folder of run directories
    seed: int = 0  # of everything random: weights, rows, templates, exemplars, dropout
    data: DataConfig = DataConfig()
    vocabulary: VocabularyConfig = VocabularyConfig()
    format: FormatConfig = FormatConfig()
    mixture: MixtureConfig = MixtureConfig()
    stages: tuple[StageConfig, ...] = ()  # mixtures trained on one after the other; (): `mixture` all the way
    filters: FilterConfig = FilterConfig()
    packing: PackingConfig = PackingConfig()
    model: ModelConfig = ModelConfig()
    adapter: AdapterConfig = AdapterConfig()
    execution: ExecutionConfig = ExecutionConfig()
    optimizer: OptimizerConfig = OptimizerConfig()
    training: TrainingConfig = TrainingConfig()
    mesh: MeshConfig = MeshConfig()
    checkpoint: CheckpointConfig = CheckpointConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    telemetry: TelemetryConfig = TelemetryConfig()

    def __post_init__(self):
        check(self)

    @property
    def run_dir(self) -> str:
        return f'{self.run_root}/{self.name}'


def check(config: Config) -> None:
    """Refuses values that contradict each other, before anything is read or compiled.

    Raises:
      ConfigError: with the knobs, their values and the remedy.
    """
    training, model = config.training, config.model
    knob_ranges.check(config)
    if not config.stages and (training.steps is None) == (training.epochs is None):
        raise errors.ConfigError(
            f'training.steps={training.steps} and training.epochs={training.epochs}: set exactly one of them'
        )
    if training.batch_rows % training.microbatches:
        raise errors.ConfigError(
            f'training.batch_rows={training.batch_rows} does not divide into '
            f'training.microbatches={training.microbatches}'
        )
    if config.optimizer.adam_learning_rate is not None and not config.optimizer.learning_rate:
        raise errors.ConfigError(
            f'optimizer.learning_rate={config.optimizer.learning_rate} with optimizer.adam_learning_rate='
            f'{config.optimizer.adam_learning_rate}: the second is a multiple of the first; set both above 0'
        )
    if model.heads % model.kv_heads:
        raise errors.ConfigError(f'model.heads={model.heads} is no multiple of model.kv_heads={model.kv_heads}')
    if model.encoder_decoder and model.positions != 'relative_bias':
        raise errors.ConfigError(
            f'model.positions={model.positions!r} with model.encoder_layers={model.encoder_layers}: '
            "an encoder-decoder needs 'relative_bias'"
        )
    check_adapter(config.adapter, encoder_decoder=model.encoder_decoder)
    check_mixture(config.mixture, 'mixture.')
    check_stages(config.stages, steps=training.steps, epochs=training.epochs)
    _check_rows(config)


def _check_rows(config: Config) -> None:
    """An example of the longest kind must fit a row by itself."""
    data, packing = config.data, config.packing
    if config.model.encoder_decoder:
        sides = [('encoder_tokens', 'data.max_inputs', data.max_inputs)]
        sides += [('decoder_tokens', 'data.max_targets', data.max_targets)]
    else:
        sides = [('row_tokens', 'data.max_inputs + data.max_targets', data.max_inputs + data.max_targets)]
    for row, limit, longest in sides:
        if vars(packing)[row] < longest:
            raise errors.ConfigError(
                f'packing.{row}={vars(packing)[row]} is shorter than an example may be: {limit} = {longest}; '
                'raise the one or lower the other'
            )


def to_dict(config: Any) -> dict[str, Any]:
    """A (nested) config as plain dicts, lists and values, fit for JSON."""
    return json.loads(json.dumps(dataclasses.asdict(config)))


def default() -> 'ml_collections.ConfigDict':  # noqa: F821
    """All knobs at their defaults, as the `ConfigDict` a config file changes; `None` fields keep their type."""
    return to_config_dict(Config(training=TrainingConfig(steps=1000)))


def to_config_dict(config: Any) -> 'ml_collections.ConfigDict':  # noqa: F821
    """Dataclass -> locked `ConfigDict` of the same shape."""
    from ml_collections import config_dict  # deferred: the step and the benchmarks run without it

    hints = typing.get_type_hints(type(config))
    out = config_dict.ConfigDict()
    for field in dataclasses.fields(config):
        value = vars(config)[field.name]
        if dataclasses.is_dataclass(value):
            out[field.name] = to_config_dict(value)
        elif isinstance(value, tuple) and any(map(dataclasses.is_dataclass, value)):
            out[field.name] = tuple(map(to_config_dict, value))
        elif type(None) in typing.get_args(hints[field.name]):
            (kind,) = (t for t in typing.get_args(hints[field.name]) if t is not type(None))
            kind = str if typing.get_origin(kind) is Literal else kind  # a placeholder takes classes only
            out[field.name] = config_dict.placeholder(kind)
            out[field.name] = value
        else:
            out[field.name] = value
    return out.lock()


def resolve(values: Mapping[str, Any], kind: type = Config, *, path: str = '') -> Any:
    """Nested mapping (`ConfigDict` or parsed JSON) -> frozen, checked dataclass.

    Args:
      values: every key must be a field of `kind`; a missing key takes the default.
      kind: the dataclass.
      path: where we are, for messages.

    Raises:
      ConfigError: unknown key (with the nearest right one), wrong type, or a value not among the choices.
    """
    hints = typing.get_type_hints(kind)
    known = {field.name for field in dataclasses.fields(kind)}
    out = {}
    for key in values.keys():
        where = f'{path}{key}'
        if key not in known:
            raise errors.ConfigError(f'config has no {where!r}{errors.near(key, known)}')
        out[key] = _coerce(values[key], hints[key], where=where)
    return kind(**out)


def check_name(name: str, kind: type = Config) -> None:
    """Refuses a dotted name that is no knob of a kind of config.

    Raises:
      ConfigError: with the nearest right one.
    """
    path = ''
    for part in name.split('.'):
        part = part.partition('[')[0]  # stages[0].steps
        known = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
        if part not in known:
            raise errors.ConfigError(f'config has no {path + part!r}{errors.near(part, known)}')
        kind, path = typing.get_type_hints(kind)[part], f'{path}{part}.'
        inner = [hint for hint in typing.get_args(kind) if dataclasses.is_dataclass(hint)]  # of a tuple, or with None
        kind = inner[0] if inner else kind


def _coerce(value: Any, hint: Any, *, where: str) -> Any:
    """One field: int -> float and list -> tuple are silent, all else must fit."""
    if dataclasses.is_dataclass(hint):
        if isinstance(value, hint):  # as a config file may write it
            return value
        if value is None or isinstance(value, str | int | float | list | tuple):
            raise errors.ConfigError(f'{where}={value!r} must be a mapping of knobs')
        return resolve(value, hint, path=f'{where}.')
    if hint is Any:
        return value
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        if value is None:
            return None
        (inner,) = (t for t in args if t is not type(None))
        return _coerce(value, inner, where=where)
    if origin is Literal:
        if value not in args:
            raise errors.ConfigError(f'{where}={value!r} is none of {", ".join(map(repr, args))}')
        return value
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise errors.ConfigError(f'{where}={value!r} must be a list of {args[0].__name__}')
        each = f'{where}[{{}}]' if dataclasses.is_dataclass(args[0]) else where
        return tuple(_coerce(v, args[0], where=each.format(i)) for i, v in enumerate(value))
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        raise errors.ConfigError(f'{where}={value!r} is a {type(value).__name__}, not a {hint.__name__}')
    return value

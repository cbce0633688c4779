"""A speaker: a checkpoint with what it takes to talk to it."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from flan_jax import errors, scored_model
from flan_jax.config import Config, TrainingConfig
from flan_jax.data import chat as chat_lib
from flan_jax.data import vocabulary as vocabulary_lib
from flan_jax.data.chat import Chat
from flan_jax.data.vocabulary import Vocabulary
from flan_jax.decoding.generate import Generator
from flan_jax.decoding.stopping import StopStrings
from flan_jax.interop import warm_start
from flan_jax.parallel import distributed
from flan_jax.parallel import mesh as mesh_lib
from flan_jax.training import state as state_lib

_CONTEXT = 2048  # tokens, where a model's files give no length


@dataclasses.dataclass(frozen=True)
class Speaker:
    """A model with what it takes to talk to it.

    Attributes:
      generator: of its graph; params: its weights.
      vocabulary: its own; chat: the template it was tuned on, or None.
      separator: behind a plain prompt.
      context: tokens of a prompt, with its answer unless it goes to an encoder.
      encoder_decoder: whether it does.
    """

    generator: Generator
    params: Any
    vocabulary: Vocabulary
    chat: Chat | None
    separator: str
    context: int
    encoder_decoder: bool

    def prompt(self, asked: Mapping[str, Any]) -> list[int]:
        """Ids of a conversation, or of a plain prompt (which in a chat is its first message).

        Raises:
          ConfigError: messages, and no chat template.
        """
        if self.chat is None:
            if 'messages' in asked:
                raise errors.ConfigError('messages need a chat template; name one with --chat, or give prompts as text')
            ids = self.vocabulary.encode([asked['prompt'] + self.separator])[0]
            return [*self.vocabulary.prefix, *ids] or [self.vocabulary.pad_id]
        messages = asked.get('messages') or [{'role': 'user', 'content': asked['prompt']}]
        return chat_lib.prompt(self.chat, dict(asked) | {'messages': messages}, vocabulary=self.vocabulary)

    def text(self, ids: Sequence[int], stops: StopStrings) -> str:
        """An answer as text, without what ended it."""
        ids = ids[:-1] if len(ids) and ids[-1] in self.generator.ends else ids
        return stops.cut(self.vocabulary.decode(ids))

    def fitted(self, ids: list[int], new: int) -> tuple[list[int], int]:
        """A prompt with room for its answer, and how many tokens were cut from its left, behind BOS.

        Raises:
          ConfigError: the answer alone fills the context.
        """
        prefix = list(self.vocabulary.prefix)
        head = len(prefix) if ids[: len(prefix)] == prefix else 0  # a chat template may begin without BOS
        room = self.context - (0 if self.encoder_decoder else new)
        if room <= head:
            raise errors.ConfigError(f'--new={new} leaves no room in a context of {self.context} tokens; ask for fewer')
        cut = max(len(ids) - room, 0)
        return (ids if not cut else [*ids[:head], *ids[head + cut :]]), cut


def load(
    config: Config | None, checkpoint: str, *, vocabulary: str | None, chat: str | None, batch_tokens: int
) -> Speaker:
    """A run's checkpoint, or somebody else's model.

    Raises:
      CheckpointError: it is not there.
      ConfigError: no vocabulary is known for it.
    """
    distributed.initialise()
    own = checkpoint in ('latest', 'best') or checkpoint.isdecimal()
    if own and config is None:
        raise errors.ConfigError(f'--checkpoint={checkpoint} is of a run; name it with --config=configs/X.py')
    asking = config if config is not None else Config(training=TrainingConfig(steps=1))
    mesh = mesh_lib.make(asking.mesh)
    if own:
        scored = scored_model.load(config, checkpoint, mesh=mesh)
        graph, params, asking = scored.graph, scored.params, scored.config
        path, model = scored.vocabulary, asking.model
    else:
        source, model = warm_start.describe(checkpoint)
        bones = state_lib.skeleton(model, asking.execution)
        shardings = state_lib.weight_shardings(bones, mesh)
        graph, params = bones.graph, warm_start.load(source, model, shardings=shardings, shapes=bones.shapes)
        path = vocabulary or asking.vocabulary.path or checkpoint
    words = vocabulary_lib.load(path, bos=asking.vocabulary.bos)
    name = chat or asking.format.chat or ('tokenizer' if config is None and 'default' in words.templates else None)
    template = None if name is None else chat_lib.load(name, words)
    ends = words.end_ids if template is None else chat_lib.stop_ids(template, words)
    separator = asking.format.separator if config is not None and not model.encoder_decoder else ''
    return Speaker(
        Generator(graph, mesh, ends, batch_tokens), params, words, template, separator, model.max_length or _CONTEXT,
        model.encoder_decoder,
    )  # fmt: skip

"""Super-NaturalInstructions: a folder of task files to as many tasks (Wang et al. 2022, arXiv:2204.07705).

Each `task<number>_<words>.json` holds one task: what to do (`Definition`), examples of good and bad replies with
reasons, and its `Instances`. It becomes one `Task`, `niv2_<file name>` in the cluster `niv2_<category>`, so that a cap
bites each of the 1,600 and a category can be held out. The definition and the examples stand in its templates, its rows
hold no more than the input and the replies.

Only the head of a file is read to make its task; the instances, nearly all of it, are read when its rows are. Name the
collection's folder in `data.task_files`, or list the tasks in a module of one's own:

    TASKS = natural_instructions.tasks('natural-instructions', english_only=True, leave_out=MMLU_NUMBERS)
"""

import glob
import json
import pathlib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

from flan_jax import errors
from flan_jax.data.formats import draw
from flan_jax.data.task import Drop, Fields, FileSource, Row, Task
from flan_jax.data.templates import Template

# Made from MMLU's own questions; the Flan collection leaves them out (Longpre et al. 2023, arXiv:2301.13688).
MMLU_NUMBERS = range(685, 738)

TEST_ROWS = 100  # first instances of a test task, as the published evaluation takes them
VALIDATION_ROWS = 100  # at most; a tenth of a small task

_CHUNK = 1 << 16  # characters; most heads fit
_HEAD = ('Categories', 'Definition', 'Positive Examples')  # keys every file must have, besides `Instances`
_MORE = ('Source', 'Input_language', 'Output_language', 'Negative Examples')
_NUMBER = re.compile(r'task(\d+)')


def tasks(
    folder: str,
    *,
    splits: str | None = None,
    english_only: bool = False,
    leave_out: Collection[int] = (),
) -> list[Task]:
    """The tasks of a folder, in the order of their names.

    Args:
      folder: the collection, with `tasks/` and `splits/default/` in it, or a folder of task files.
      splits: folder of `train_tasks.txt` and `test_tasks.txt`, file names without `.json`, one a line. A training task
        has `train` and a small `validation`, a test task has `test`, and a task in neither list is left out. None: the
        collection's `splits/default`; without that, every task is a training task.
      english_only: leave out tasks that read or write another language.
      leave_out: numbers of tasks to leave out, such as `MMLU_NUMBERS`.

    Raises:
      DataError: no task file is left, a file's head is no valid JSON or lacks a key, or a task is in both lists.
    """
    root = pathlib.Path(folder)
    if splits is None and (root / 'splits' / 'default').is_dir():
        splits = str(root / 'splits' / 'default')
    role = _roles(splits) if splits is not None else None
    out = []
    for path in sorted((root / 'tasks' if (root / 'tasks').is_dir() else root).glob('*.json')):
        number = _NUMBER.match(path.stem)
        if (role is not None and path.stem not in role) or (number and int(number.group(1)) in leave_out):
            continue
        head = _head(path)
        if not english_only or _is_english(head):
            out.append(_task(path, head, role=role[path.stem] if role else 'train'))
    if not out:
        lists = f' that {splits}/train_tasks.txt or test_tasks.txt names' if splits else ''
        raise errors.DataError(f'{folder} has no task file (*.json){lists}; name the folder of the collection')
    return out


def _roles(folder: str) -> dict[str, str]:
    """Task file name -> 'train' or 'test'."""
    out: dict[str, str] = {}
    for role in ('train', 'test'):
        path = pathlib.Path(folder) / f'{role}_tasks.txt'
        try:
            names = [line.strip().removesuffix('.json') for line in path.read_text('utf-8').splitlines()]
        except OSError as e:
            raise errors.DataError(f'{path} cannot be read: {e.strerror}; give the folder of the two lists') from e
        for name in filter(None, names):
            if out.setdefault(name, role) != role:
                raise errors.DataError(f'{path}: {name} is a training task as well; remove it from one of the lists')
    return out


def _is_english(head: Mapping[str, Any]) -> bool:
    languages = [*_listed(head.get('Input_language')), *_listed(head.get('Output_language'))]
    return all(language.strip().lower() == 'english' for language in languages)


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [] if value is None else [value]


def _task(path: pathlib.Path, head: Mapping[str, Any], *, role: str) -> Task:
    categories = [slug for category in _listed(head['Categories']) if (slug := _slug(category))]
    definition = ' '.join(part.strip() for part in _listed(head['Definition']) if part.strip())
    if not categories or not definition:
        raise errors.DataError(f'{path}: no {"Definition" if categories else "Categories"}; the task needs one')
    files = (glob.escape(str(path)),)
    return Task(
        name=f'niv2_{path.stem}',
        cluster=f'niv2_{categories[0]}',
        source=FileSource({'test': files} if role == 'test' else {'train': files, 'validation': files}, read),
        fields=_fields,
        templates=_templates(definition, _examples(path, head, key='Positive Examples'), head=head),
        mode='generate',
        metrics=('super_ni_rouge_l', 'super_ni_exact_match'),
        texts_from=tuple(dict.fromkeys(slug for source in _listed(head.get('Source')) if (slug := _slug(source)))),
    )


def _slug(text: str) -> str:
    """A word for names.

    >>> _slug('Question Answering (MC)')
    'question_answering_mc'
    """
    return re.sub(r'\W+', '_', text.lower()).strip('_')


# ---------------------------------------------------------------------------------------------------------- templates


def _examples(path: pathlib.Path, head: Mapping[str, Any], *, key: str) -> list[dict[str, str]]:
    """Examples with both sides; files without bad examples have '-' there."""
    out = []
    for example in _listed(head.get(key)):
        if not isinstance(example, dict) or not {'input', 'output'} <= example.keys():
            raise errors.DataError(f'{path}: an entry of {key!r} is no object with input and output: {example!r:.80}')
        output = _listed(example['output'])
        sides = {
            'input': _text(example['input']),
            'output': _text(output[0]) if output else '',
            'why': ' '.join(map(_text, _listed(example.get('explanation')))).strip('-'),
        }
        if sides['input'].strip('-') and sides['output'].strip('-'):
            out.append({name: text.replace('{', '{{').replace('}', '}}') for name, text in sides.items()})
    return out


def _templates(definition: str, good: Sequence[Mapping[str, str]], *, head: Mapping[str, Any]) -> tuple[Template, ...]:
    """The phrasings a task's examples suffice for: alone, with one or two examples, with reasons, with a bad one."""
    to_do = definition.replace('{', '{{').replace('}', '}}')
    out = [
        Template(f'{to_do}\n\n{{input}}', name='definition'),
        Template(f'Task: {to_do}\n\nInput: {{input}}\nOutput:', name='definition_labelled'),
        Template(f'{{input}}\n\nThis is what to do with the text above. {to_do}', name='definition_last'),
        Template(
            'Carry out the instruction on the text below it and reply with the result alone.\n\n'
            f'Instruction: {to_do}\n\nText:\n{{input}}\n\nResult:',
            name='definition_result',
        ),
    ]
    shown = [f'Input: {e["input"]}\nOutput: {e["output"]}' for e in good[:2]]
    reasoned = [f'{text}\nReason: {e["why"]}' for text, e in zip(shown, good) if e['why']]
    if good:
        out.append(
            Template(
                f'{to_do}\n\nFor instance, when given\n{good[0]["input"]}\none should write\n{good[0]["output"]}\n\n'
                'Now do the same with\n{input}',
                name='one_example',
            )
        )
    if len(good) > 1:
        samples = '\n\n'.join(f'Example {i}\n{text}' for i, text in enumerate(shown, start=1))
        out += [
            Template(f'{to_do}\n\n{samples}\n\nYour turn\nInput: {{input}}\nOutput:', name='two_examples'),
            Template(
                f'Two examples, and then the rule they follow.\n\n{shown[0]}\n\n{shown[1]}\n\nRule: {to_do}\n\n'
                'Follow the rule.\nInput: {input}\nOutput:',
                name='examples_first',
            ),
        ]
    if reasoned:
        samples = '\n\n'.join(reasoned)
        out.append(
            Template(
                f'Definition: {to_do}\n\nWorked, with the reason for each output:\n\n{samples}\n\n'
                'To be worked (no reason needed):\n\nInput: {input}\nOutput:',
                name='explained_examples',
            )
        )
    bad = _examples(pathlib.Path(), head, key='Negative Examples')
    if good and bad:
        because = f'\nWhat is wrong: {bad[0]["why"]}' if bad[0]['why'] else ''
        out.append(
            Template(
                f'{to_do}\n\nDone well:\n{shown[0]}\n\nDone badly:\nInput: {bad[0]["input"]}\n'
                f'Output: {bad[0]["output"]}{because}\n\nPlease do this one well:\nInput: {{input}}\nOutput:',
                name='good_and_bad',
            )
        )
    return tuple(out)


# --------------------------------------------------------------------------------------------------------------- head


def _head(path: pathlib.Path) -> dict[str, Any]:
    """The entries of a task file that stand before its instances.

    Raises:
      DataError: no valid JSON, or a key is missing.
    """
    try:
        with open(path, encoding='utf-8-sig') as file:
            text = file.read(_CHUNK)
            found, complete = _entries(text)
            while not complete and (more := file.read(len(text))):
                text += more
                found, complete = _entries(text)
    except UnicodeDecodeError as e:
        raise errors.DataError(f'{path}: not UTF-8 ({e.reason}); convert the file to UTF-8') from e
    if not complete:
        _parsed(path, text)  # says where it breaks
    missing = [key for key in _HEAD if key not in found]
    if missing or not complete:
        raise errors.DataError(
            f'{path}: no {", ".join(missing or ["Instances"])}; a task file has {", ".join(_HEAD)} and Instances'
        )
    for key in found.keys() - {'Positive Examples', 'Negative Examples'}:
        if odd := [value for value in _listed(found[key]) if not isinstance(value, str)]:
            raise errors.DataError(f'{path}: {key} holds {odd[0]!r:.80}, which is no text')
    return found


def _entries(text: str) -> tuple[dict[str, Any], bool]:
    """Wanted entries of the JSON object that begins here, up to `Instances`; and whether that was reached.

    >>> head = '{"Categories": ["Sums"], "URL": "x", "Definition": ["Add."], "Positive Examples": []'
    >>> _entries(head + ', "Instances": [{"inp')
    ({'Categories': ['Sums'], 'Definition': ['Add.'], 'Positive Examples': []}, True)
    >>> _entries(head + ', "Instan')[1]
    False
    """
    decoder, found, place = json.JSONDecoder(), {}, _skip(text, 0)
    if text[place : place + 1] != '{':
        return found, False
    instances = False
    while True:
        try:
            place = _skip(text, place + 1)  # after the brace or the comma
            key, place = decoder.raw_decode(text, place)
            place = _skip(text, place)
            if key == 'Instances' and text[place : place + 1] == ':':
                instances = True
                if all(name in found for name in _HEAD):
                    return found, True
            value, place = decoder.raw_decode(text, _skip(text, place + 1))
        except ValueError:  # the text ends within an entry
            return found, False
        if key in _HEAD or key in _MORE:
            found[key] = value
        place = _skip(text, place)
        if text[place : place + 1] != ',':
            return found, instances


def _skip(text: str, place: int) -> int:
    while text[place : place + 1] in (' ', '\n', '\r', '\t'):
        place += 1
    return place


def _parsed(path: pathlib.Path, text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as e:
        raise errors.DataError(f'{path}: no valid JSON ({e}); fetch the file again') from e
    if not isinstance(value, dict):
        raise errors.DataError(f'{path}: a {type(value).__name__}, not a JSON object')
    return value


# --------------------------------------------------------------------------------------------------------------- rows


def read(path: str, split: str) -> Iterator[Row]:
    """The instances of one split: `test` has the first 100, `validation` and `train` share them, by input.

    Yields:
      {'id', 'input', 'output': list of accepted replies}.

    Raises:
      DataError: no valid JSON, no instances, or one that lacks a key.
    """
    file = pathlib.Path(path)
    try:
        value = _parsed(file, file.read_text('utf-8-sig'))
    except (OSError, UnicodeDecodeError) as e:
        raise errors.DataError(f'{path} cannot be read: {e}') from e
    instances = value.get('Instances')
    if not isinstance(instances, list) or not instances:
        raise errors.DataError(f'{path}: no Instances, so the task has no rows; leave the file out')
    for i, row in enumerate(instances):
        if not isinstance(row, dict) or not {'input', 'output'} <= row.keys():
            raise errors.DataError(f'{path} (instance {i}): {row!r:.80} is no object with input and output')
    held_back = _validation(str(row['input']) for row in instances)
    for i, row in enumerate(instances[:TEST_ROWS] if split == 'test' else instances):
        if split == 'test' or (str(row['input']) in held_back) == (split == 'validation'):
            yield {'id': str(row.get('id', i)), 'input': row['input'], 'output': _listed(row['output'])}


def _validation(inputs: Iterable[str]) -> frozenset[str]:
    """Inputs whose instances are kept for validation; all instances of one input are on one side."""
    distinct = sorted(set(inputs), key=lambda text: draw(1 << 62, text))
    share = max(len(distinct) // 10, min(1, len(distinct) - 1))
    return frozenset(distinct[: min(VALIDATION_ROWS, share)])


def _fields(row: Row) -> Fields | Drop:
    asked = _text(row['input'])
    replies = [text for reply in row['output'] if (text := _text(reply))]
    if not replies:
        return Drop('empty_answer')
    if not asked:
        return Drop('empty_input')
    # Each accepted reply is trained on somewhere; which one it is here depends on the row alone.
    answer = replies[draw(len(replies), row['id'], row['input'])]
    return {'input': asked, 'answer': answer, 'references': list(dict.fromkeys(replies))}


def _text(value: Any) -> str:
    if isinstance(value, list | dict):
        raise errors.DataError(f'{json.dumps(value):.80} is no text')
    return '' if value is None else str(value).strip()

"""lm-eval's requests: encoded as its own model does, grouped, cut, answered in their order."""

import dataclasses
import json
import types

import numpy as np
import pytest

from flan_jax import errors
from flan_jax.data.chat import Chat
from flan_jax.decoding.sampling import Sampling
from flan_jax.decoding.score import Scored
from flan_jax.evaluation import lm_eval
from flan_jax.evaluation.lm_eval import Limits, LMEvalModel, rolling, settings

EOS, BOS = 0, 1


class Letters:
    """A vocabulary of letters."""

    prefix: list[int] = []
    eos_id = EOS
    named = {'bos_token': '<s>'}
    added = {'<s>': BOS}
    fingerprint = 'letters'

    def parse(self, texts):
        return [([ord(c) for c in text], []) for text in texts]

    def decode(self, ids):
        return ''.join(map(chr, ids))


class Scores:
    """Minus the number of tokens of an option; a short one counts as greedy. Keeps what it was asked."""

    encoder_decoder = False

    def scored(self, params, requests):
        self.asked = requests
        return [
            Scored(np.array([-float(len(o)) for o in r.options]), np.array([len(o) < 3 for o in r.options]))
            for r in requests
        ]


class Says:
    """Writes one text for every prompt, watched as the real one is."""

    ends = (EOS,)

    def __init__(self, text):
        self.text, self.calls = text, []

    def __call__(self, params, prompts, *, new, how, until):
        self.calls.append((prompts, new, how))
        out = []
        for place in range(len(prompts)):
            ids = []
            for c in self.text[:new]:
                ids.append(ord(c))
                if until(place, ids):
                    break
            out.append(ids)
        return out


def model(text='', context=20) -> LMEvalModel:
    return LMEvalModel(Says(text), Scores(), None, Letters(), Limits(context, answer=8))


def asked(*arguments):
    return [types.SimpleNamespace(args=a) for a in arguments]


def test_options_of_one_context_are_scored_together_and_come_back_in_their_order():
    ours = model()
    found = ours.loglikelihood(asked(('ab', 'xyz'), ('c', 'x'), ('ab', 'y'), ('ab ', 'q')))
    assert found == [(-3.0, False), (-1.0, True), (-1.0, True), (-2.0, True)]
    # A space at a context's end is the continuation's.
    options = {Letters().decode(r.prompt): [Letters().decode(o) for o in r.options] for r in ours.scorer.asked}
    assert options == {'ab': ['xyz', 'y', ' q'], 'c': ['x']}


def test_a_text_without_context_stands_behind_bos_even_where_examples_do_not():
    ours = model()
    ours.loglikelihood(asked(('', 'xy')))
    assert ours.scorer.asked[0].prompt == (BOS,)


def test_a_context_that_is_too_long_loses_its_beginning_and_is_counted():
    ours = model(context=5)
    ours.loglikelihood(asked(('abcdefgh', 'xy'), ('ab', 'xy')))
    assert [Letters().decode(r.prompt) for r in ours.scorer.asked] == ['efgh', 'ab'] and ours.cut == 1


def test_a_continuation_that_cannot_be_scored_is_an_error():
    with pytest.raises(errors.DataError, match="request 1: the continuation '' has no token"):
        model().loglikelihood(asked(('a', 'b'), ('a', '')))
    with pytest.raises(errors.DataError, match='a continuation of 6 tokens is longer than the context, 5'):
        model(context=5).loglikelihood(asked(('a', 'bcdefg')))


class NoNumbers(Scores):
    """No log-likelihood after a context that ends with 'n'."""

    def scored(self, params, requests):
        found = super().scored(params, requests)
        return [
            dataclasses.replace(one, sums=one.sums * (np.nan if r.prompt[-1] == ord('n') else 1))
            for r, one in zip(requests, found, strict=True)
        ]


def test_a_log_likelihood_that_is_nan_is_an_error_that_names_the_request():
    ours = dataclasses.replace(model('\0\0'), scorer=NoNumbers(), vocabulary=Letters())
    with pytest.raises(errors.DataError, match='request 1: the log-likelihood is NaN; the weights hold NaN, or'):
        ours.loglikelihood(asked(('a', 'b'), ('n', 'b')))
    with pytest.raises(errors.DataError, match='request 0: the log-likelihood is NaN'):
        dataclasses.replace(ours, limits=Limits(2)).loglikelihood_rolling(asked(('anab',), ('a',)))
    with pytest.raises(errors.DataError, match='request 1: the log-likelihood is NaN'):
        ours.generate_until(asked(('a', {}), ('n', {})))


@pytest.mark.parametrize('length', [1, 4, 5, 9, 12])
def test_windows_predict_every_token_once_and_are_never_too_long(length):
    ids = list(range(1, length + 1))
    found = list(rolling(ids, first=0, width=4))
    assert [i for _, cut in found for i in cut] == ids
    assert all(len(context) + len(cut) - 1 <= 4 for context, cut in found)
    assert all(context[-1] == cut[0] - 1 for context, cut in found)


def test_long_texts_are_summed_over_their_windows():
    assert model(context=4).loglikelihood_rolling(asked(('abcdefghij',), ('a',))) == [-10.0, -1.0]


def test_answers_end_before_their_stop_string():
    ours = model('Paris.\nQ: no')
    found = ours.generate_until(asked(('a', {'until': ['\n']}), ('b', {'until': 'ris', 'max_gen_toks': 4}), ('c', {})))
    assert found == ['Paris.', 'Pari', 'Paris.\nQ']
    assert [new for _, new, _ in ours.generator.calls] == [4, 8]


def test_a_chat_that_asks_for_no_answer_is_left_open_to_be_gone_on_with():
    template = '{% for m in messages %}[{{ m.role }}] {{ m.content | trim }}\n{% endfor %}'
    ours = dataclasses.replace(
        model(), chat=Chat('c', template + '{% if add_generation_prompt %}[a]{% endif %}', None, ())
    )
    said = [{'role': 'user', 'content': 'Go?'}, {'role': 'assistant', 'content': ' Go '}]
    assert ours.apply_chat_template(said[:1]) == '[user] Go?\n[a]'
    assert ours.apply_chat_template(said, add_generation_prompt=False) == '[user] Go?\n[assistant] Go'


def test_settings_that_draw_nothing_are_greedy_and_unknown_ones_are_refused():
    assert settings({'do_sample': False, 'temperature': 0.7}, answer=3).sampling == Sampling()
    assert settings({'do_sample': True, 'top_k': 0}, answer=3).sampling == Sampling(temperature=1.0)
    assert settings({'temperature': 0.5, 'top_p': 0.9}, answer=3).sampling == Sampling(temperature=0.5, top_p=0.9)
    assert settings({'max_new_tokens': 5}, answer=3).new == 5
    with pytest.raises(errors.ConfigError, match="'temprature' is not known here.*did you mean temperature"):
        settings({'temprature': 1.0}, answer=3)
    with pytest.raises(errors.ConfigError, match='answers of 30 tokens leave no room in a context of 20'):
        model('x').generate_until(asked(('a', {'max_gen_toks': 30})))


def test_lm_eval_runs_a_task_from_a_file_and_its_results_are_written(tmp_path):
    pytest.importorskip('lm_eval', reason='needs lm-eval')
    rows = [{'question': f'q{i}', 'options': ['yes', 'no'], 'answer': i % 2} for i in range(4)]
    (tmp_path / 'rows.jsonl').write_text('\n'.join(map(json.dumps, rows)))
    task = {
        'task': 'toy', 'dataset_path': 'json', 'test_split': 'test', 'output_type': 'multiple_choice',
        'dataset_kwargs': {'data_files': {'test': str(tmp_path / 'rows.jsonl')}},
        'doc_to_text': '{{question}}', 'doc_to_choice': '{{options}}', 'doc_to_target': '{{answer}}',
    }  # fmt: skip
    results = lm_eval.evaluate(model(), tasks=[task], bootstrap_iters=0)
    assert results['results']['toy']['acc,none'] == 0.5  # the shorter option, always the second
    lm_eval.write(str(tmp_path / 'results.json'), results)
    assert json.loads((tmp_path / 'results.json').read_text())['contexts_cut'] == 0

"""Sentiment and emotion of short texts: GoEmotions and SST-2 by way of TFDS, SST-5 from local rows."""

from flan_jax.data.task import Fields, LocalSource, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks.tfds_rows import UNLABELLED, label_name, text

# In the order of the published label ids.
_EMOTIONS = (
    'admiration amusement anger annoyance approval caring confusion curiosity desire disappointment disapproval '
    'disgust embarrassment excitement fear gratitude grief joy love nervousness optimism pride realization relief '
    'remorse sadness surprise neutral'
).split()
_SST2_LABELS = ['negative', 'positive']
_SST5_LABELS = ['very negative', 'negative', 'neutral', 'positive', 'very positive']


def _goemotions_row(row: Row) -> Row:
    return {'text': text(row['comment_text']), 'labels': [emotion for emotion in _EMOTIONS if row[emotion]]}


def _goemotions_fields(row: Row) -> Fields | None:
    if not row['labels']:
        return None
    # One order for all rows, so that there is one right string to learn.
    labels = sorted(row['labels'], key=_EMOTIONS.index)
    return {'text': row['text'].strip(), 'emotions': ', '.join(_EMOTIONS), 'answer': ', '.join(labels)}


def _sst2_row(row: Row) -> Row:
    return {'sentence': text(row['sentence']), 'label': label_name(row['label'], _SST2_LABELS)}


def _sst2_fields(row: Row) -> Fields | None:
    if row['label'] == UNLABELLED:
        return None
    return {'sentence': row['sentence'].strip(), 'answer': row['label'], 'options': _SST2_LABELS}


def _sst5_fields(row: Row) -> Fields:
    return {'sentence': row['sentence'].strip(), 'answer': row['label'], 'options': _SST5_LABELS}


# GoEmotions: Reddit comments, one or more of 27 emotions or neutral (Demszky et al., 2020).
_GOEMOTIONS = Task(
    name='goemotions',
    cluster='sentiment',
    source=TfdsSource(
        'goemotions:0.1.0', {'train': 'train', 'validation': 'validation', 'test': 'test'}, _goemotions_row
    ),
    fields=_goemotions_fields,
    mode='generate',
    metrics=('label_set_f1', 'exact_match'),
    texts_from=('reddit',),
    templates=(
        Template(
            'Which emotions does the writer of this comment express? Choose from {emotions}.\n\nComment: {text}\n'
            'Emotions:'
        ),
        Template(
            '{text}\n\nName every emotion that comes through in this Reddit comment, with commas in between. '
            'If there is none, say neutral.'
        ),
        Template(
            'Give the comment one or more of these labels: {emotions}.\nSeparate several labels by commas.\n\n{text}'
        ),
        Template('Someone posted: "{text}"\nWhat were they feeling? List the emotions, separated by commas.'),
        Template('Possible emotions: {emotions}\nPost: {text}\nThose that apply:'),
        Template('How does the author of this post feel?\n\n{text}\n\nUse only words from this list: {emotions}.'),
        Template('Comment: {text}\nFeelings shown (comma-separated, or neutral):'),
        Template(
            'A moderator tags posts by mood. The tags in use are {emotions}. Which of them belong on the following '
            'post?\n{text}'
        ),
        Template('Write a Reddit comment that conveys the following: {answer}.', '{text}', inverted=True),
        Template(
            'Mood: {answer}\nWhat might a person in this mood write under an online post?', '{text}', inverted=True
        ),
    ),
)

# Stanford Sentiment Treebank: sentences of film reviews (Socher et al., 2013). TFDS's training split also holds the
# phrases of the parse trees; the test split has no labels.
_SST2 = Task(
    name='sst2',
    cluster='sentiment',
    source=TfdsSource('glue/sst2:2.0.0', {'train': 'train', 'validation': 'validation'}, _sst2_row),
    fields=_sst2_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('sst',),
    templates=(
        Template('Review: {sentence}\nIs this movie review positive or negative?'),
        Template('{sentence}\n\nWhat does the writer think of the film?\n{options}'),
        Template('Sort this line from a film review by its sentiment.\n{options}\n\nLine: {sentence}\nSentiment:'),
        Template('A critic wrote: "{sentence}"\nWas the verdict on the film positive or negative?'),
        Template(
            'If this quote were printed on a poster, what impression of the film would it give?\n"{sentence}"\n'
            '{options}'
        ),
        Template(
            'Sam: What did the paper say about that film?\nKim: "{sentence}"\nSam: So how did they find it?\n'
            '{options}\nKim:'
        ),
        Template('Describe the tone of this remark about a film: {sentence}\n{options}'),
        Template('Positive or negative? {sentence}'),
        Template('Write a {answer} sentence for a film review.', '{sentence}', inverted=True),
        Template(
            'You are a critic, and your opinion of the film you have just seen is {answer}. Put it in one line.',
            '{sentence}',
            inverted=True,
        ),
    ),
)

# The same sentences with five grades (Socher et al., 2013).
_SST5 = Task(
    name='sst5',
    cluster='sentiment',
    source=LocalSource(reason='not in TFDS; the treebank with five grades is at nlp.stanford.edu/sentiment'),
    fields=_sst5_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('sst',),
    templates=(
        Template(
            'On a scale from very negative to very positive, how does this line of a review come across?\n'
            '{sentence}\n{options}'
        ),
        Template(
            '{sentence}\n\nRate the attitude of this remark about a film as very negative, negative, neutral, positive '
            'or very positive.'
        ),
        Template('Excerpt from a film review: "{sentence}"\nHow favourable is it?\n{options}'),
        Template('How much does the reviewer like or dislike the film?\n{options}\n\nReviewer: {sentence}'),
        Template("Critics' lines are tagged with five grades of sentiment.\nLine: {sentence}\n{options}\nTag:"),
        Template('Having read "{sentence}", what would you say the author\'s view of the movie is?\n{options}'),
        Template(
            'Put this verdict into a rating (very negative, negative, neutral, positive, very positive): {sentence}'
        ),
        Template(
            'A film site shows stars next to reviews: very negative is one star, negative two, neutral three, positive '
            'four and very positive five. Which of the five wordings fits this review?\n\n{sentence}'
        ),
        Template('Write one sentence about a film. Its sentiment should be {answer}.', '{sentence}', inverted=True),
        Template('Rating: {answer}\nOne line of the review that came with it:', '{sentence}', inverted=True),
    ),
)

TASKS: tuple[Task, ...] = (_GOEMOTIONS, _SST2, _SST5)

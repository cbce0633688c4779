"""What a text is about or asks for: AG News and TREC by way of TFDS, Banking77 and Subj from local rows."""

from flan_jax.data.task import Fields, LocalSource, Row, Task, TfdsSource
from flan_jax.data.templates import Template
from tasks.tfds_rows import label_name, text

_AG_NEWS_ANSWERS = {
    'World': 'World',
    'Sports': 'Sports',
    'Business': 'Business',
    'Sci/Tech': 'Science and technology',
}
_BANKING77_LABELS = (
    'Refund_not_showing_up activate_my_card age_limit apple_pay_or_google_pay atm_support automatic_top_up '
    'balance_not_updated_after_bank_transfer balance_not_updated_after_cheque_or_cash_deposit beneficiary_not_allowed '
    'cancel_transfer card_about_to_expire card_acceptance card_arrival card_delivery_estimate card_linking '
    'card_not_working card_payment_fee_charged card_payment_not_recognised card_payment_wrong_exchange_rate '
    'card_swallowed cash_withdrawal_charge cash_withdrawal_not_recognised change_pin compromised_card '
    'contactless_not_working country_support declined_card_payment declined_cash_withdrawal declined_transfer '
    'direct_debit_payment_not_recognised disposable_card_limits edit_personal_details exchange_charge exchange_rate '
    'exchange_via_app extra_charge_on_statement failed_transfer fiat_currency_support get_disposable_virtual_card '
    'get_physical_card getting_spare_card getting_virtual_card lost_or_stolen_card lost_or_stolen_phone '
    'order_physical_card passcode_forgotten pending_card_payment pending_cash_withdrawal pending_top_up '
    'pending_transfer pin_blocked receiving_money request_refund reverted_card_payment? supported_cards_and_currencies '
    'terminate_account top_up_by_bank_transfer_charge top_up_by_card_charge top_up_by_cash_or_cheque top_up_failed '
    'top_up_limits top_up_reverted topping_up_by_card transaction_charged_twice transfer_fee_charged '
    'transfer_into_account transfer_not_received_by_recipient transfer_timing unable_to_verify_identity '
    'verify_my_identity verify_source_of_funds verify_top_up virtual_card_not_working visa_or_mastercard '
    'why_verify_identity wrong_amount_of_cash_received wrong_exchange_rate_for_cash_withdrawal'
).split()
_BANKING77_ANSWERS = {label: label.replace('_', ' ').rstrip('?').lower() for label in _BANKING77_LABELS}
# In TFDS's order.
_TREC_ANSWERS = {
    'DESC': 'description',
    'ENTY': 'entity',
    'ABBR': 'abbreviation',
    'HUM': 'human',
    'NUM': 'number',
    'LOC': 'location',
}


def _ag_news_row(row: Row) -> Row:
    return {
        'title': text(row['title']),
        'description': text(row['description']),
        'label': label_name(row['label'], list(_AG_NEWS_ANSWERS)),
    }


def _ag_news_fields(row: Row) -> Fields:
    return {
        'title': row['title'].strip(),
        'description': row['description'].strip(),
        'answer': _AG_NEWS_ANSWERS[row['label']],
        'options': list(_AG_NEWS_ANSWERS.values()),
    }


def _banking77_fields(row: Row) -> Fields:
    return {
        'text': row['text'].strip(),
        'answer': _BANKING77_ANSWERS[row['label']],
        'options': list(_BANKING77_ANSWERS.values()),
    }


def _subj_fields(row: Row) -> Fields:
    return {'sentence': row['sentence'].strip(), 'answer': row['label'], 'options': ['subjective', 'objective']}


def _trec_row(row: Row) -> Row:
    return {
        'question': text(row['text']),
        'label': label_name(row['label-coarse'], list(_TREC_ANSWERS.values())),
    }


def _trec_fields(row: Row) -> Fields:
    return {
        'question': row['question'].strip(),
        'answer': row['label'],
        'options': list(_TREC_ANSWERS.values()),
    }


# AG's corpus of news articles, the four largest sections (Zhang et al., 2015). TFDS has no validation split.
_AG_NEWS = Task(
    name='ag_news',
    cluster='topic_classification',
    source=TfdsSource(
        'ag_news_subset:1.0.0',
        {'train': 'train[:-2000]', 'validation': 'train[-2000:]', 'test': 'test'},
        _ag_news_row,
    ),
    fields=_ag_news_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('ag_news',),
    templates=(
        Template('{title}\n{description}\n\nWhich section of the paper does this story belong in?\n{options}'),
        Template(
            'Headline: {title}\nLead: {description}\nSection (World, Sports, Business, or Science and technology):'
        ),
        Template('What is this news item about?\n{options}\n\n"{title}" - {description}'),
        Template(
            'A news reader app has four tabs: World, Sports, Business, and Science and technology. Under which tab '
            'should it put the article below?\n\n{title}\n\n{description}'
        ),
        Template('Article: {title}\n{description}\n{options}\nTopic:'),
        Template('Assign a category to the report.\n\nReport: {description}\nIts title: {title}\n{options}'),
        Template(
            'Reporter: I have a piece called "{title}". It starts like this: {description}\nWhich desk should I '
            'send it to?\n{options}'
        ),
        Template('Name the subject area of the news with the headline "{title}" that goes on: {description}'),
        Template(
            'Write the opening of a story for the section {answer} under the headline "{title}".',
            '{description}',
            inverted=True,
        ),
        Template(
            'The text below opens an article in the section {answer}. Give it a headline.\n\n{description}',
            '{title}',
            inverted=True,
        ),
    ),
)

# Banking77: customers' questions to an online bank, 77 intents (Casanueva et al., 2020). The list of options is about
# 500 tokens long, so only half of the straight templates show it.
_BANKING77 = Task(
    name='banking77',
    cluster='topic_classification',
    source=LocalSource(reason='not in TFDS; the CSV files are in github.com/PolyAI-LDN/task-specific-datasets'),
    fields=_banking77_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('banking77',),
    templates=(
        Template('A customer of a bank writes: "{text}"\nWhat is the request about?\n{options}'),
        Template('Sort the message to the help desk by intent.\n{options}\n\nMessage: {text}\nIntent:'),
        Template('Customer: {text}\nName the support topic for this message in a few words.'),
        Template('{text}\n\nTo which queue should the bank route this?\n{options}'),
        Template('Banking query: {text}\nShort label of the intent:'),
        Template(
            'You answer the chat of a mobile bank, and every question has to be filed under one heading.\n'
            'Question: {text}\n{options}\nHeading:'
        ),
        Template('In a few words, what does a bank customer want who says the following?\n\n{text}'),
        Template('Which intent in the catalogue of a card and payments app matches "{text}"?'),
        Template(
            'Write a message that a customer might send to the bank about this topic: {answer}', '{text}', inverted=True
        ),
        Template('Support topic: {answer}\nHow could a user of the banking app put it?', '{text}', inverted=True),
    ),
)

# Subj: lines of film reviews (subjective) against lines of plot summaries (objective) (Pang and Lee, 2004). The
# reviews are those of Rotten Tomatoes, as in the Stanford Sentiment Treebank, and share sentences with it.
_SUBJ = Task(
    name='subj',
    cluster='topic_classification',
    source=LocalSource(reason='not in TFDS; the sentences are at cs.cornell.edu/people/pabo/movie-review-data'),
    fields=_subj_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('sst',),
    templates=(
        Template('Is this sentence about a film subjective or objective?\n{sentence}'),
        Template('{sentence}\n\nDoes the line voice an opinion or recount facts of the plot?\n{options}'),
        Template(
            'Opinions of reviewers are subjective; retellings of a plot are objective.\n{options}\n\n'
            'Sentence: {sentence}\nKind:'
        ),
        Template('Decide whether the writer judges or merely reports.\nText: {sentence}\n{options}\nThe text is'),
        Template('"{sentence}" - is that stated from a subjective or an objective point of view?'),
        Template(
            'I am separating comments on movies from synopses of movies. What should I mark this one as?\n{sentence}\n'
            '{options}'
        ),
        Template('Sentence: {sentence}\nSubjectivity label:'),
        Template('What is the nature of the statement "{sentence}"?\n{options}'),
        Template('Write one sentence about a film. It should be {answer} in nature.', '{sentence}', inverted=True),
        Template(
            'Subjective sentences give an opinion of a film and objective ones tell what happens in it. Give me one '
            'that is {answer}.',
            '{sentence}',
            inverted=True,
        ),
    ),
)

# TREC question classification, the six coarse classes (Li and Roth, 2002). TFDS has no validation split.
_TREC = Task(
    name='trec',
    cluster='topic_classification',
    source=TfdsSource('trec:1.0.0', {'train': 'train[:-500]', 'validation': 'train[-500:]', 'test': 'test'}, _trec_row),
    fields=_trec_fields,
    mode='rank',
    metrics=('accuracy',),
    texts_from=('trec',),
    templates=(
        Template('{question}\n\nWhat type of answer does this question call for?\n{options}'),
        Template(
            'Question: {question}\nExpected answer type (description, entity, abbreviation, human, number or location):'
        ),
        Template('Sort the question by the kind of thing it asks for.\n{options}\n\nQuestion: {question}\nKind:'),
        Template('Someone asks: "{question}"\nWhat are they after?\n{options}'),
        Template(
            'Before a search engine looks for an answer it guesses what the answer will be: a description, an entity, '
            'an abbreviation, a human, a number or a location. What should it guess for "{question}"?'
        ),
        Template('Which class of answer would satisfy the person who wants to know this: {question}\n{options}'),
        Template('Q: {question}\nThe answer is going to be of this type:'),
        Template(
            'You prepare a quiz and file each card by what the answer is. File this card.\nCard: {question}\n{options}'
        ),
        Template('Ask a trivia question. Its answer should be of this type: {answer}', '{question}', inverted=True),
        Template('Answer type: {answer}\nA question of general knowledge to go with it:', '{question}', inverted=True),
    ),
)

TASKS: tuple[Task, ...] = (_AG_NEWS, _BANKING77, _SUBJ, _TREC)

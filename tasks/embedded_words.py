"""The closed vocabulary of the embedded tasks: some 140 content words, so that a small model meets each one often.

No word stands in two pools; that keeps 'the odd one out' and 'which kind' free of a second answer.
"""

KINDS = {
    'animal': ('cat', 'dog', 'cow', 'pig', 'horse', 'duck', 'fox', 'bear', 'wolf', 'goat', 'mouse', 'frog'),
    'food': ('bread', 'rice', 'soup', 'cheese', 'cake', 'pasta', 'butter', 'honey', 'salad', 'bacon', 'jam', 'pie'),
    'colour': ('red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'pink', 'grey', 'purple', 'gold', 'silver'),
    'tool': ('hammer', 'saw', 'drill', 'axe', 'rake', 'hoe', 'wrench', 'chisel', 'pliers', 'trowel', 'spade', 'clamp'),
    'clothing': ('hat', 'shirt', 'coat', 'sock', 'shoe', 'scarf', 'glove', 'dress', 'belt', 'skirt', 'boot', 'jacket'),
}
WITH_ARTICLE = {
    'animal': 'an animal',
    'food': 'a food',
    'colour': 'a colour',
    'tool': 'a tool',
    'clothing': 'a piece of clothing',
}
PLURALS = {'animal': 'animals', 'food': 'foods', 'colour': 'colours', 'tool': 'tools', 'clothing': 'clothes'}
KIND_OF = {word: kind for kind, words in KINDS.items() for word in words}
WORDS = tuple(KIND_OF)

NAMES = ('ann', 'bob', 'cid', 'dan', 'eva', 'fay', 'gus', 'ida', 'jim', 'kim', 'leo', 'max')
FEW_NAMES = NAMES[:5]  # where a name picks a fact, which must be learned for each pair of names
THINGS = ('apples', 'books', 'coins', 'cups', 'eggs', 'pens', 'keys', 'balls', 'cards', 'stones', 'bags', 'shells')
PLACES = ('park', 'shop', 'school', 'garden', 'kitchen', 'farm', 'mill', 'barn', 'office', 'hotel', 'forest', 'bank')
LETTERS = ('B', 'F', 'K', 'M', 'R', 'T', 'X', 'Z')  # no A and no I: both are words of the instructions
NUMBERS = tuple(range(21))

# Parts of an instruction that change nothing, drawn for every row. Ten fixed phrasings are learned by heart within
# minutes; what varies inside them makes a model look for the words that matter.
WORDING = {
    'Say': ('Write', 'Say', 'Tell me', 'Show me'),
    'say': ('write', 'say', 'tell me', 'show me'),
    'Drop': ('Drop', 'Remove', 'Skip', 'Leave out'),
    'drop': ('drop', 'remove', 'skip', 'leave out'),
    'has': ('has', 'finds', 'buys', 'sees'),
    'gets': ('gets', 'finds', 'buys', 'takes'),
    'loses': ('loses', 'sells', 'gives away', 'throws away'),
    'list': ('list', 'row', 'line'),
    'Here': ('List', 'Words', 'Here is a list', 'Here are some words', 'Read these words', 'Look at this list'),
    'Numbers': ('Numbers', 'Here are some numbers', 'Read these numbers', 'Look at these numbers'),
    'Ages': ('Ages', 'Here are some ages', 'Read these ages', 'Look at these ages'),
    'Facts': ('Facts', 'Here are some facts', 'Read these facts', 'Look at these facts'),
    'Kinds': ('Kinds', 'Here are some kinds', 'Read these kinds', 'Look at these kinds'),
    'Card': ('Card', 'Here is a card', 'Read this card', 'Look at this card'),
    'Table': ('Table', 'Here is a table', 'Read this table', 'Look at this table'),
}

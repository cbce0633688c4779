"""The closed vocabulary of the embedded tasks: some 140 content words, so that a small model meets each one often.

No word stands in two pools; that keeps 'the odd one out' and 'which kind' free of a second answer.
"""

KINDS = {
    'animal': ('cat', 'dog', 'cow', 'pig', 'horse', 'duck', 'fox', 'bear', 'wolf', 'goat', 'mouse', 'frog'),
    'food': ('bread', 'rice', 'soup', 'cheese', 'cake', 'pasta', 'butter', 'honey', 'salad', 'bacon', 'jam', 'pie'),
    'colour': ('red', 'blue', 'green', 'yellow', 'black', 'white', 'brown', 'pink', 'grey', 'purple', 'gold', 'silver'),
    'tool': (
        'hammer',
        'saw',
        'drill',
        'axe',
        'rake',
        'mallet',
        'wrench',
        'chisel',
        'pliers',
        'trowel',
        'spade',
        'clamp',
    ),
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
THINGS = ('apples', 'books', 'coins', 'cups', 'eggs', 'pens', 'keys', 'balls', 'cards', 'stones', 'bags', 'shells')
PLACES = (
    'park',
    'shop',
    'school',
    'garden',
    'kitchen',
    'library',
    'cellar',
    'barn',
    'office',
    'hotel',
    'forest',
    'bank',
)
LETTERS = ('B', 'F', 'K', 'M', 'R', 'T', 'X', 'Z')  # no A and no I: both are words of the instructions
NUMBERS = tuple(range(21))

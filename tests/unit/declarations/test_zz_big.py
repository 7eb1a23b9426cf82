from hypothesis import settings
from tests.unit.declarations.test_any_input import test_whatever_stands_anywhere_is_taken_or_refused_with_its_place as t
test_big = settings(max_examples=15000, deadline=None)(t)

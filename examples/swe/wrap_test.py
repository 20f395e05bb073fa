import unittest

from wrap import justify, wrap


class WrapTest(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(wrap("", 5), [])

    def test_fits(self):
        self.assertEqual(wrap("ab cd", 5), ["ab cd"])

    def test_breaks(self):
        self.assertEqual(wrap("ab cd ef", 5), ["ab cd", "ef"])

    def test_long_word(self):
        self.assertEqual(wrap("a abcdefgh b", 3), ["a", "abc", "def", "gh", "b"])

    def test_word_of_exactly_the_width(self):
        self.assertEqual(wrap("abc abc", 3), ["abc", "abc"])

    def test_width_zero(self):
        with self.assertRaises(ValueError):
            wrap("a", 0)

    def test_justify_evenly(self):
        self.assertEqual(justify("a b c", 7), "a  b  c")

    def test_justify_left_gaps_are_wider(self):
        self.assertEqual(justify("a b c", 8), "a   b  c")

    def test_justify_one_word(self):
        self.assertEqual(justify(" word ", 9), "word")

    def test_justify_too_long(self):
        self.assertEqual(justify("aaa bbb", 4), "aaa bbb")

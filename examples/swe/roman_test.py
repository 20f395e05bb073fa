import unittest

from roman import from_roman, to_roman


class RomanTest(unittest.TestCase):
    def test_small_numbers(self):
        self.assertEqual([to_roman(n) for n in (1, 2, 3)], ["I", "II", "III"])

    def test_subtraction(self):
        self.assertEqual([to_roman(n) for n in (4, 9, 40, 90, 400, 900)], ["IV", "IX", "XL", "XC", "CD", "CM"])

    def test_largest(self):
        self.assertEqual(to_roman(3999), "MMMCMXCIX")

    def test_zero_is_refused(self):
        with self.assertRaises(ValueError):
            to_roman(0)

    def test_too_large_is_refused(self):
        with self.assertRaises(ValueError):
            to_roman(4000)

    def test_reading(self):
        self.assertEqual(from_roman("MCMXCIV"), 1994)

    def test_other_spellings_are_refused(self):
        for text in ("IIII", "", "IC", "MMMM", "iv"):
            with self.assertRaises(ValueError):
                from_roman(text)

    def test_there_and_back(self):
        for n in range(1, 4000, 37):
            self.assertEqual(from_roman(to_roman(n)), n)

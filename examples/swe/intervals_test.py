import unittest

from intervals import covers, gaps, merge


class IntervalsTest(unittest.TestCase):
    def test_nothing(self):
        self.assertEqual(merge([]), [])

    def test_apart(self):
        self.assertEqual(merge([(5, 6), (1, 2)]), [(1, 2), (5, 6)])

    def test_touching(self):
        self.assertEqual(merge([(1, 2), (2, 3)]), [(1, 3)])

    def test_inside(self):
        self.assertEqual(merge([(1, 9), (2, 3)]), [(1, 9)])

    def test_empty_ones_are_left_out(self):
        self.assertEqual(merge([(4, 4), (7, 3)]), [])

    def test_covers_its_start(self):
        self.assertTrue(covers([(1, 3)], 1))

    def test_does_not_cover_its_end(self):
        self.assertFalse(covers([(1, 3)], 3))

    def test_gaps_around(self):
        self.assertEqual(gaps([(3, 5)], 0, 10), [(0, 3), (5, 10)])

    def test_no_gap(self):
        self.assertEqual(gaps([(0, 10)], 2, 8), [])

    def test_gap_outside_does_not_count(self):
        self.assertEqual(gaps([(20, 30)], 0, 10), [(0, 10)])

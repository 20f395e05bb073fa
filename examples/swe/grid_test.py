import unittest

from grid import count_regions, shortest

MAZE = ["..#.", ".##.", "....", "#.#."]


class GridTest(unittest.TestCase):
    def test_no_step(self):
        self.assertEqual(shortest(MAZE, (0, 0), (0, 0)), 0)

    def test_around_walls(self):
        self.assertEqual(shortest(MAZE, (0, 1), (0, 3)), 8)

    def test_no_way(self):
        self.assertIsNone(shortest([".#."], (0, 0), (0, 2)))

    def test_wall_is_no_goal(self):
        self.assertIsNone(shortest(MAZE, (0, 0), (0, 2)))

    def test_outside(self):
        self.assertIsNone(shortest(MAZE, (0, 0), (0, 9)))

    def test_last_row_and_column(self):
        self.assertEqual(shortest(["..", ".."], (0, 0), (1, 1)), 2)

    def test_one_region(self):
        self.assertEqual(count_regions(["...", "..."]), 1)

    def test_two_regions(self):
        self.assertEqual(count_regions([".#.", ".#."]), 2)

    def test_only_walls(self):
        self.assertEqual(count_regions(["##"]), 0)

    def test_corners_do_not_touch(self):
        self.assertEqual(count_regions([".#", "#."]), 2)

from collections import deque


def inside(grid, row, column):
    return 0 <= row < len(grid) and 0 <= column < len(grid[row]) and grid[row][column] != "#"


def neighbours(grid, row, column):
    for down, right in ((-1, 0), (1, 0), (0, -1), (0, 1)):
        if inside(grid, row + down, column + right):
            yield (row + down, column + right)


def shortest(grid, start, goal):
    if not inside(grid, *start) or not inside(grid, *goal):
        return None
    steps = {start: 0}
    queue = deque([start])
    while queue:
        cell = queue.popleft()
        if cell == goal:
            return steps[cell]
        for other in neighbours(grid, *cell):
            if other not in steps:
                steps[other] = steps[cell] + 1
                queue.append(other)
    return None


def count_regions(grid):
    seen = set()
    count = 0
    for row in range(len(grid)):
        for column in range(len(grid[row])):
            if (row, column) in seen or not inside(grid, row, column):
                continue
            count += 1
            stack = [(row, column)]
            while stack:
                cell = stack.pop()
                if cell in seen:
                    continue
                seen.add(cell)
                stack.extend(neighbours(grid, *cell))
    return count

def merge(intervals):
    out = []
    for start, end in sorted(intervals):
        if start >= end:
            continue
        if out and start <= out[-1][1]:
            out[-1] = (out[-1][0], max(out[-1][1], end))
        else:
            out.append((start, end))
    return out


def covers(intervals, point):
    return any(start <= point < end for start, end in intervals)


def gaps(intervals, start, end):
    out = []
    at = start
    for low, high in merge(intervals):
        if high <= start or low >= end:
            continue
        if low > at:
            out.append((at, low))
        at = max(at, high)
    if at < end:
        out.append((at, end))
    return out

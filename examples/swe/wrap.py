def wrap(text, width):
    if width < 1:
        raise ValueError("a line has at least one character")
    lines = []
    line = ""
    for word in text.split():
        while len(word) > width:
            if line:
                lines.append(line)
                line = ""
            lines.append(word[:width])
            word = word[width:]
        if not word:
            continue
        if not line:
            line = word
        elif len(line) + 1 + len(word) <= width:
            line += " " + word
        else:
            lines.append(line)
            line = word
    if line:
        lines.append(line)
    return lines


def justify(line, width):
    words = line.split()
    if width < 1:
        raise ValueError("a line has at least one character")
    if len(words) < 2:
        return line.strip()
    blanks = width - sum(len(word) for word in words)
    gaps = len(words) - 1
    if blanks < gaps:
        return " ".join(words)
    out = words[0]
    for index, word in enumerate(words[1:]):
        wide = blanks // gaps + (1 if index < blanks % gaps else 0)
        out += " " * wide + word
    return out

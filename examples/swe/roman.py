VALUES = [(1000, "M"), (900, "CM"), (500, "D"), (400, "CD"), (100, "C"), (90, "XC"),
          (50, "L"), (40, "XL"), (10, "X"), (9, "IX"), (5, "V"), (4, "IV"), (1, "I")]


def to_roman(n):
    if n < 1 or n > 3999:
        raise ValueError("outside 1 to 3999")
    out = ""
    for value, letters in VALUES:
        while n >= value:
            out += letters
            n -= value
    return out


def from_roman(text):
    total = 0
    at = 0
    for value, letters in VALUES:
        while text[at:at + len(letters)] == letters:
            total += value
            at += len(letters)
    if at != len(text) or total == 0 or total > 3999 or to_roman(total) != text:
        raise ValueError("not a Roman numeral")
    return total

# reward/code/codec.py - values between the candidate's process and the examiner's. First part of both programs.
#
# A frame is four bytes of length and a JSON text. None, bool, int, float and str stand for themselves; everything else is
# a list that begins with a tag. Closed: what is not in this file does not cross, except as a handle (an object that stays
# where it is). Readers trust nothing: sizes, depth, tags and types are checked, and a violation ends the channel.
import array as _array
import builtins as _builtins
import collections as _collections
import datetime as _datetime
import decimal as _decimal
import fractions as _fractions
import json as _json
import os as _os

FRAME_MAX = 32 << 20
DEPTH_MAX = 64
INT_BITS_MAX = 1 << 22
_SMALL = 1 << 62


class Malformed(Exception):
    """The other side broke the protocol."""


class Unsendable(Exception):
    """A value of ours that cannot cross."""


class Channel:
    """trusted: the examiner's end. It says more than it takes, so that it can always say back what it was told."""

    def __init__(self, fd, trusted):
        self.fd = fd
        self.most_in, self.most_out = (FRAME_MAX, 4 * FRAME_MAX) if trusted else (4 * FRAME_MAX, FRAME_MAX)
        self.dumps = _json.JSONEncoder(check_circular=False, separators=(",", ":")).encode
        self.loads = _json.loads
        self.read_some, self.write_some = _os.read, _os.write

    def read(self, size):
        parts, left = [], size
        while left:
            part = self.read_some(self.fd, min(left, 1 << 20))
            if not part:
                raise EOFError
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def receive(self):
        size = int.from_bytes(self.read(4), "big")
        if size > self.most_in:
            raise Malformed("a frame of %d bytes" % size)
        try:
            return self.loads(self.read(size).decode("ascii"))
        except (ValueError, RecursionError) as error:
            raise Malformed("no JSON: %s" % error) from None

    def send(self, message):
        data = self.dumps(message).encode("ascii")
        if len(data) > self.most_out:
            raise Unsendable("%d bytes" % len(data))
        data = len(data).to_bytes(4, "big") + data
        view = memoryview(data)
        while view:
            view = view[self.write_some(self.fd, view) :]


_VIEWS = {"keys": type({}.keys()), "values": type({}.values()), "items": type({}.items())}
_TYPES = {name: value for name, value in vars(_builtins).items() if type(value) is type}
_PLAIN = frozenset((type(None), bool, float))


class Codec:
    """opaque(value) encodes what is not known here; reference(payload) decodes what opaque made."""

    def __init__(self, opaque, reference, trusted):
        self.opaque, self.reference = opaque, reference
        self.deepest_in, self.deepest_out = (DEPTH_MAX, 2 * DEPTH_MAX) if trusted else (2 * DEPTH_MAX, DEPTH_MAX)
        self.named = {}

    # ---- out ----
    def encode(self, value, depth=0):
        kind = type(value)
        if value is None or kind is bool or kind is float:
            return value
        if kind is int:
            return value if -_SMALL < value < _SMALL else ["i", "%x" % value]
        if kind is str:
            return self.encode_text(value)
        if depth >= self.deepest_out:
            raise Unsendable("values nested deeper than %d" % self.deepest_out)
        if kind is list:
            return ["l", *self.encode_items(value, depth)]
        if kind is tuple:
            return ["t", *self.encode_items(value, depth)]
        if kind is dict:
            return ["d", *self.encode_pairs(value, depth)]
        encoder = self.KNOWN.get(kind)
        if encoder is not None:
            return encoder(self, value, depth)
        if kind is type and _TYPES.get(value.__name__) is value:
            return ["y", value.__name__]
        if isinstance(value, tuple) and kind.__base__ is tuple and isinstance(getattr(kind, "_fields", None), tuple):
            return ["n", kind.__name__, list(kind._fields), *self.encode_items(tuple.__iter__(value), depth)]
        return self.opaque(value, depth)

    @staticmethod
    def encode_text(value):
        if value.isascii():
            return value
        try:
            value.encode("utf-8")
            return value
        except UnicodeEncodeError:
            return ["u", value.encode("utf-32-be", "surrogatepass").hex()]

    def encode_items(self, items, depth):
        if type(items) is list and len(items) > 64:
            kinds = set(map(type, items))
            if kinds <= _PLAIN or (kinds == {int} and max(items) < _SMALL and min(items) > -_SMALL):
                return items
        encode, deeper = self.encode, depth + 1
        return [encode(item, deeper) for item in items]

    def encode_pairs(self, value, depth):
        flat = []
        for key, item in dict.items(value):
            flat.append(self.encode(key, depth + 1))
            flat.append(self.encode(item, depth + 1))
        return flat

    KNOWN = {
        bytes: lambda self, value, depth: ["b", value.hex()],
        bytearray: lambda self, value, depth: ["ba", value.hex()],
        complex: lambda self, value, depth: ["c", value.real, value.imag],
        set: lambda self, value, depth: ["s", *self.encode_items(value, depth)],
        frozenset: lambda self, value, depth: ["z", *self.encode_items(value, depth)],
        range: lambda self, value, depth: ["r", *(self.encode(x) for x in (value.start, value.stop, value.step))],
        _collections.Counter: lambda self, value, depth: ["D", "c", *self.encode_pairs(value, depth)],
        _collections.OrderedDict: lambda self, value, depth: ["D", "o", *self.encode_pairs(value, depth)],
        _collections.defaultdict: lambda self, value, depth: ["D", "d", *self.encode_pairs(value, depth)],
        _collections.deque: lambda self, value, depth: ["q", value.maxlen, *self.encode_items(value, depth)],
        _array.array: lambda self, value, depth: ["a", value.typecode, *self.encode_items(value.tolist(), depth)],
        _decimal.Decimal: lambda self, value, depth: ["m", str(value)],
        _fractions.Fraction: lambda self, value, depth: ["f", self.encode(value.numerator), self.encode(value.denominator)],
        _datetime.date: lambda self, value, depth: ["td", value.year, value.month, value.day],
        _datetime.time: lambda self, value, depth: ["tt", value.isoformat()],
        _datetime.datetime: lambda self, value, depth: ["tx", value.isoformat()],
        _datetime.timedelta: lambda self, value, depth: ["tl", value.days, value.seconds, value.microseconds],
        _VIEWS["keys"]: lambda self, value, depth: ["v", "keys", *self.encode_items(value, depth)],
        _VIEWS["values"]: lambda self, value, depth: ["v", "values", *self.encode_items(value, depth)],
        _VIEWS["items"]: lambda self, value, depth: ["v", "items", *self.encode_items(value, depth)],
        type(Ellipsis): lambda self, value, depth: ["e"],
    }

    # ---- in ----
    def decode(self, value, depth=0):
        kind = type(value)
        if kind is not list:
            if value is None or kind in (bool, int, float, str):
                return value
            raise Malformed("a value of the wrong kind")
        if not value or type(value[0]) is not str:
            raise Malformed("a list without a tag")
        if depth > self.deepest_in:
            raise Malformed("values nested deeper than %d" % self.deepest_in)
        reader = self.READERS.get(value[0])
        if reader is None:
            return self.reference(value, depth)
        try:
            return reader(self, value, depth)
        except (TypeError, ValueError, IndexError, AttributeError, ArithmeticError, _decimal.DecimalException) as error:
            raise Malformed("%s: %s" % (value[0], error)) from None

    def items(self, value, depth, skip=1):
        tail = value[skip:]
        if len(tail) > 64 and list not in (kinds := set(map(type, tail))) and dict not in kinds:
            return tail
        decode, deeper = self.decode, depth + 1
        return [decode(item, deeper) for item in tail]

    def pairs(self, value, depth, skip=1):
        flat = self.items(value, depth, skip)
        if len(flat) % 2:
            raise Malformed("a key without a value")
        return zip(flat[::2], flat[1::2])

    def read_big(self, value, depth):
        if len(value[1]) * 4 > INT_BITS_MAX:
            raise Malformed("an integer of %d digits" % len(value[1]))
        return int(value[1], 16)

    def read_number(self, value):
        number = self.decode(value)
        if type(number) is not int:
            raise Malformed("no integer")
        return number

    def read_named(self, value, depth):
        name, fields = value[1], value[2]
        if len(fields) > 256 or any(type(field) is not str for field in fields):
            raise Malformed("fields")
        key = (name, *fields)
        made = self.named.get(key)
        if made is None:
            made = self.named[key] = _collections.namedtuple(name, fields)
        return made(*self.items(value, depth, 3))

    def read_mapping(self, value, depth):
        pairs = dict(self.pairs(value, depth, 2))
        if value[1] == "c":
            made = _collections.Counter()
            dict.update(made, pairs)
            return made
        if value[1] == "o":
            return _collections.OrderedDict(pairs)
        if value[1] == "d":
            return _collections.defaultdict(None, pairs)
        raise Malformed("a mapping of an unknown kind")

    def read_type(self, value, depth):
        if value[1] not in _TYPES:
            raise Malformed("an unknown type")
        return _TYPES[value[1]]

    def read_view(self, value, depth):
        items = self.items(value, depth, 2)
        if value[1] == "keys":
            return dict.fromkeys(items).keys()
        if value[1] == "values":
            return dict(enumerate(items)).values()
        return dict(items).items()

    READERS = {
        "i": read_big,
        "u": lambda self, value, depth: bytes.fromhex(value[1]).decode("utf-32-be", "surrogatepass"),
        "l": lambda self, value, depth: self.items(value, depth),
        "t": lambda self, value, depth: tuple(self.items(value, depth)),
        "d": lambda self, value, depth: dict(self.pairs(value, depth)),
        "n": read_named,
        "b": lambda self, value, depth: bytes.fromhex(value[1]),
        "ba": lambda self, value, depth: bytearray.fromhex(value[1]),
        "c": lambda self, value, depth: complex(value[1], value[2]),
        "s": lambda self, value, depth: set(self.items(value, depth)),
        "z": lambda self, value, depth: frozenset(self.items(value, depth)),
        "r": lambda self, value, depth: range(*(self.read_number(x) for x in value[1:4])),
        "D": read_mapping,
        "q": lambda self, value, depth: _collections.deque(self.items(value, depth, 2), value[1]),
        "a": lambda self, value, depth: _array.array(value[1], self.items(value, depth, 2)),
        "m": lambda self, value, depth: _decimal.Decimal(value[1]),
        "f": lambda self, value, depth: _fractions.Fraction(self.read_number(value[1]), self.read_number(value[2])),
        "td": lambda self, value, depth: _datetime.date(value[1], value[2], value[3]),
        "tt": lambda self, value, depth: _datetime.time.fromisoformat(value[1]),
        "tx": lambda self, value, depth: _datetime.datetime.fromisoformat(value[1]),
        "tl": lambda self, value, depth: _datetime.timedelta(value[1], value[2], value[3]),
        "v": read_view,
        "e": lambda self, value, depth: Ellipsis,
        "y": read_type,
    }

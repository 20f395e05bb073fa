# reward/code/proxies.py - the candidate's objects as the examiner has them. Middle part of the examiner's program.
#
# Names of the tests that belong to the candidate are proxies that ask through descriptor 3 (see codec.py). An operation
# whose other operand comes from the test is never sent over: neither would its answer be worth anything, nor may the
# candidate learn what is expected.
import operator as _operator


class Gone(BaseException):
    """The candidate's process ended, or broke the protocol. Nothing a test does can swallow it: every later call raises it again."""


class Slow(Gone):
    """One call took longer than a test may."""


class Unsupported(BaseException):
    """The test needs what cannot cross: nothing is known about the candidate."""


_MISSING = object()


class Proxy:
    """An object of the candidate. `is` and hash follow the object; == against a value of the test never asks it."""

    __slots__ = ("_weir",)

    def __init__(self, remote, number, kind, can):
        object.__setattr__(self, "_weir", (remote, number, kind, can))

    def __getattr__(self, name):
        if name.startswith("__") and name.endswith("__") and name not in ("__name__", "__doc__", "__dict__", "__annotations__", "__module__", "__qualname__", "__init__"):
            raise AttributeError(name)
        return _ask(self, "attr", name)

    def __setattr__(self, name, value):
        _ask(self, "set_attr", name, value)

    def __delattr__(self, name):
        _ask(self, "del_attr", name)

    def __call__(self, /, *args, **kwargs):
        return _remote(self).call(self, args, kwargs)

    def __len__(self):
        size = _ask(self, "len")
        if type(size) is not int or size < 0:
            raise TypeError("no length")
        return size

    def __bool__(self):
        return _ask(self, "true") is True

    def __iter__(self):
        if _can(self) == "i":
            return self
        return iter(_ask(self, "iter"))

    def __next__(self):
        return _ask(self, "next")

    def __contains__(self, item):
        return any(mine is item or mine == item for mine in iter(self))

    def __getitem__(self, key):
        if type(key) is slice:
            return _ask(self, "slice", key.start, key.stop, key.step)
        return _ask(self, "item", key)

    def __setitem__(self, key, value):
        _ask(self, "set_item", key, value)

    def __delitem__(self, key):
        _ask(self, "del_item", key)

    def __str__(self):
        return _text(_ask(self, "str"))

    def __repr__(self):
        return _text(_ask(self, "repr"))

    def __format__(self, spec):
        return _text(_ask(self, "format", spec))

    def __int__(self):
        return _exactly(int, _ask(self, "int"))

    def __float__(self):
        return _exactly(float, _ask(self, "float"))

    def __hash__(self):
        return hash((_remote(self).salt, _number(self)))

    def __enter__(self):
        return _ask(self, "enter")

    def __exit__(self, *_):
        return _ask(self, "exit")

    def __instancecheck__(self, instance):
        return type(instance) is Proxy and _ask(self, "is_a", instance, swap=True) is True

    def __dir__(self):
        return _ask(self, "dir")


def _remote(proxy):
    return object.__getattribute__(proxy, "_weir")[0]


def _number(proxy):
    return object.__getattribute__(proxy, "_weir")[1]


def _can(proxy):
    return object.__getattribute__(proxy, "_weir")[3]


def _ask(proxy, what, *args, swap=False):
    return _remote(proxy).ask(what, *((*args, proxy) if swap else (proxy, *args)))


def _exactly(kind, value):
    if type(value) is not kind:
        raise TypeError("no %s" % kind.__name__)
    return value


def _text(value):
    return _exactly(str, value)


def _comparison(name, absent):
    """Both are the candidate's: it is asked. Else its plain value is fetched and compared here, when it has one."""
    local = getattr(_operator, name)

    def method(self, other):
        if type(other) is Proxy:
            if self is other and name in ("eq", "ne"):
                return name == "eq"
            return _remote(self).ask("compare", name, self, other) is True
        if _can(self) == "v":
            return local(_ask(self, "value"), other)
        return absent

    return method


def _arithmetic(name, turned):
    local = getattr(_operator, name)

    def method(self, other):
        if type(other) is Proxy:
            pair = (other, self) if turned else (self, other)
            return _remote(self).ask("operate", name, *pair)
        if _can(self) == "v":
            mine = _ask(self, "value")
            return local(other, mine) if turned else local(mine, other)
        return NotImplemented

    return method


def _unary(name):
    return lambda self: _remote(self).ask("operate", name, self)


for _name in ("lt", "le", "gt", "ge"):
    setattr(Proxy, "__%s__" % _name, _comparison(_name, NotImplemented))
Proxy.__eq__, Proxy.__ne__ = _comparison("eq", False), _comparison("ne", True)
for _name in ("add", "sub", "mul", "truediv", "floordiv", "mod", "pow", "matmul", "and_", "or_", "xor", "lshift", "rshift"):
    setattr(Proxy, "__%s__" % _name.strip("_"), _arithmetic(_name, False))
    setattr(Proxy, "__r%s__" % _name.strip("_"), _arithmetic(_name, True))
for _name in ("neg", "pos", "abs", "invert"):
    setattr(Proxy, "__%s__" % _name, _unary(_name))


class Remote:
    """The candidate's process. A request carries a number nobody can guess; a reply with another one ends it."""

    HANDLES_MAX = 200000

    def __init__(self, channel):
        self.channel = channel
        self.codec = Codec(self.opaque, self.reference, True)
        self.proxies, self.errors, self.back, self.back_numbers = {}, {}, [], {}
        self.salt = _os.urandom(8)
        self.gone = ""

    def dead(self, why):
        self.gone = self.gone or why
        raise Gone(self.gone)

    def opaque(self, value, depth):
        if type(value) is Proxy:
            return ["h", _number(value)]
        if isinstance(value, type) and issubclass(value, BaseException):
            for number, known in self.errors.items():
                if known is value:
                    return ["h", number]
        if callable(value) or hasattr(type(value), "__next__"):
            if not isinstance(value, type) or value.__module__ == "builtins":
                number = self.back_numbers.get(id(value))
                if number is None:
                    number = self.back_numbers[id(value)] = len(self.back)
                    self.back.append(value)
                return ["cb", number]
        for base in (bool, int, float, complex, str, bytes, list, dict, set, frozenset, tuple):
            if isinstance(value, base):
                return self.codec.encode(base(value), depth)
        raise Unsendable("a %s of the test" % type(value).__name__)

    def reference(self, value, depth):
        tag = value[0]
        if tag == "cb" and len(value) == 2 and type(value[1]) is int and 0 <= value[1] < len(self.back):
            return self.back[value[1]]
        if tag != "h" or len(value) < 4 or type(value[1]) is not int or any(type(x) is not str for x in value[2:]):
            raise Malformed("an unknown value")
        number, name, can = value[1:4]
        if can == "e":
            return self.error_class(number, name, value[4:])
        proxy = self.proxies.get(number)
        if proxy is None:
            if len(self.proxies) >= self.HANDLES_MAX:
                raise Malformed("too many objects")
            proxy = self.proxies[number] = Proxy(self, number, name, can)
        return proxy

    def error_class(self, number, name, bases):
        """The exception class of that name here: a builtin one, or one of our own below the nearest builtin one."""
        made = self.errors.get(number)
        if made is None:
            found = [getattr(_builtins, base, None) for base in bases[:64]]
            found = [base for base in found if isinstance(base, type) and issubclass(base, BaseException)]
            made = found[0] if found else Exception
            if not bases or bases[0] != made.__name__:
                made = type(name[:100], (made,), {})
            if len(self.errors) >= 10000:
                raise Malformed("too many exceptions")
            self.errors[number] = made
        return made

    def ask(self, what, *args):
        if self.gone:
            raise Gone(self.gone)
        number = int.from_bytes(_os.urandom(7), "big")
        try:
            self.channel.send([number, what, self.codec.encode(list(args))])
        except Unsendable as error:
            raise Unsupported(str(error)) from None
        except OSError:
            self.dead("the program ended")
        try:
            while True:
                reply = self.receive(number)
                if reply[1] != "back":
                    break
                self.called_back(number, reply)
            result = self.result(reply, args)
            if len(reply) > 3 + 2 * (reply[1] == "x"):
                changed = self.codec.decode(reply[-1])
                _update(list(args), changed)
        except (Malformed, RecursionError) as error:
            self.dead("it broke the protocol: %s" % error)
        if isinstance(result, BaseException):
            raise result
        return result

    def receive(self, number):
        try:
            reply = self.channel.receive()
        except EOFError:
            self.dead("the program ended")
        except OSError:
            self.dead("the program ended")
        if type(reply) is not list or len(reply) < 3 or type(reply[0]) is not int or reply[0] != number:
            raise Malformed("a reply to another question")
        return reply

    def result(self, reply, args):
        if reply[1] == "v":
            return self.codec.decode(reply[2])
        if reply[1] == "a":
            place = reply[2]
            if args and len(args) == 3 and type(args[1]) is tuple and type(place) is int and 0 <= place < len(args[1]):
                return args[1][place]
        if reply[1] == "x" and len(reply) >= 5:
            kind = self.codec.decode(reply[2])
            values, extra = self.codec.decode(reply[3]), self.codec.decode(reply[4])
            if isinstance(kind, type) and issubclass(kind, BaseException) and type(values) is tuple and type(extra) is dict:
                return _made(kind, values, extra)
        raise Malformed("an unknown reply")

    def called_back(self, number, reply):
        if len(reply) != 5 or type(reply[2]) is not int or not 0 <= reply[2] < len(self.back):
            raise Malformed("an unknown call")
        args, kwargs = self.codec.decode(reply[3]), self.codec.decode(reply[4])
        if type(args) is not tuple or type(kwargs) is not dict:
            raise Malformed("an unknown call")
        target = self.back[reply[2]]
        try:
            value = target(*args, **kwargs) if not hasattr(type(target), "__next__") else next(target)
            answer = [number, "v", self.codec.encode(value)]
        except Exception as error:  # Unsendable, too: what it called with was the candidate's choice
            answer = [number, "x", type(error).__name__, str(error)[:1000]]
        try:
            self.channel.send(answer)
        except OSError:
            self.dead("the program ended")

    def call(self, function, args, kwargs):
        return self.ask("call", function, args, kwargs)


def _made(kind, values, extra):
    for args in (values, ()):
        try:
            error = kind(*args)
            break
        except Exception:
            error = Exception(*values)
    for key, value in list(extra.items())[:64]:
        if type(key) is str and not key.startswith("_"):
            try:
                setattr(error, key, value)
            except Exception:
                pass
    return error


def _update(old, new):
    """Makes lists, dicts and sets of the test what the call made of them, keeping their identity."""
    kind = type(old)
    if kind is not type(new):
        return new
    if kind in (list, tuple):
        merged = [_update(one, two) for one, two in zip(old, new)] + list(new[len(old) :])
        if kind is list:
            old[:] = merged
            return old
        return old if len(merged) == len(old) and all(one is two for one, two in zip(old, merged)) else tuple(merged)
    if isinstance(old, dict):
        merged = {key: _update(old[key], value) if key in old else value for key, value in new.items()}
        dict.clear(old)
        dict.update(old, merged)
        return old
    if kind in (set, bytearray):
        old.clear()
        (old.update if kind is set else old.extend)(new)
        return old
    if kind is _collections.deque:
        old.clear()
        old.extend(new)
        return old
    return new

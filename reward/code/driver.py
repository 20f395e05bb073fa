# reward/code/driver.py - runs in the sandbox beside the candidate: loads solution.py of its folder and answers calls on descriptor 3.
#
# It belongs to the candidate: whatever is in here may have been replaced by the program. All it can do is answer with
# values, like any return statement. It knows no test, no expected value and no nonce.
import ast as _ast
import operator as _operator
import re as _re
import sys as _sys
import types as _types


class Callback:
    """A function or an iterator of the test."""

    def __init__(self, driver, number):
        self._weir = (driver, number)

    def __call__(self, *args, **kwargs):
        driver, number = self._weir
        return driver.call_back(number, args, kwargs)

    def __iter__(self):
        return self

    def __next__(self):
        return self()


_CAN_CHANGE = _re.compile(r'\["(l|d|s|ba|D|q|a)"')
_BASES = (int, float, complex, str, bytes, list, tuple, dict, set, frozenset)
_BASE_VALUE = {
    int: lambda value: int.__add__(value, 0),
    float: float.__float__,
    complex: lambda value: complex.__add__(value, 0),
    str: str.__str__,
    bytes: lambda value: bytes(memoryview(value)),
    list: lambda value: list(list.__iter__(value)),
    tuple: lambda value: tuple(tuple.__iter__(value)),
    dict: lambda value: dict(dict.items(value)),
    set: lambda value: set(set.__iter__(value)),
    frozenset: lambda value: frozenset(frozenset.__iter__(value)),
}


class Driver:
    def __init__(self, channel):
        self.channel = channel
        self.codec = Codec(self.opaque, self.reference, False)
        self.objects, self.numbers = [], {}
        self.module = None
        self.whole = None
        self.solution = None
        self.exceptions = BaseException
        self.request = 0

    # ---- objects that stay here ----
    def number_of(self, value):
        number = self.numbers.get(id(value))
        if number is None:
            number = self.numbers[id(value)] = len(self.objects)
            self.objects.append(value)
        return number

    def opaque(self, value, depth):
        if type(value) is Callback:
            return ["cb", value._weir[1]]
        kind = type(value)
        names, can = [], ""
        if isinstance(value, type):
            can = "t"
            if issubclass(value, BaseException):
                can = "e"
                names = [base.__name__ for base in value.__mro__]
        elif any(issubclass(kind, base) for base in _BASES):
            can = "v"
        elif hasattr(kind, "__next__"):
            can = "i"
        name = value.__name__ if can in ("t", "e") else kind.__name__
        return ["h", self.number_of(value), str(name), can, *names]

    def reference(self, value, depth):
        if value[0] == "h":
            return self.objects[value[1]]
        if value[0] == "cb":
            return Callback(self, value[1])
        raise Malformed("an unknown tag")

    def value_of(self, target):
        for base in _BASES:
            if isinstance(target, base):
                return _BASE_VALUE[base](target)
        raise TypeError("no plain value")

    # ---- what the examiner may ask for ----
    def find(self, name):
        if not name.isidentifier():
            return eval(compile(name, "<entry>", "eval"), self.module.__dict__)
        if hasattr(self.module, name):
            return getattr(self.module, name)
        if hasattr(self.module, "Solution"):
            if self.solution is None:
                self.solution = self.module.Solution()
            return getattr(self.solution, name)
        raise NameError("name %r is not defined" % name)

    def names(self, wanted):
        found = {}
        for name in wanted if wanted else [name for name in vars(self.module) if not name.startswith("_")]:
            try:
                found[name] = self.find(name)
            except (NameError, AttributeError):
                pass
        return found

    def compare(self, name, one, two):
        return bool(getattr(_operator, name)(one, two))

    def operate(self, name, *operands):
        return getattr(_operator, name)(*operands)

    def call(self, function, args, kwargs):
        return function(*args, **kwargs)

    ASKED = {
        "call": call,
        "names": names,
        "value": value_of,
        "compare": compare,
        "operate": operate,
        "find": find,
        "attr": lambda self, target, name: getattr(target, name),
        "set_attr": lambda self, target, name, value: setattr(target, name, value),
        "del_attr": lambda self, target, name: delattr(target, name),
        "item": lambda self, target, key: target[key],
        "set_item": lambda self, target, key, value: _operator.setitem(target, key, value),
        "del_item": lambda self, target, key: _operator.delitem(target, key),
        "slice": lambda self, target, *bounds: target[slice(*bounds)],
        "len": lambda self, target: len(target),
        "true": lambda self, target: bool(target),
        "str": lambda self, target: str(target),
        "repr": lambda self, target: repr(target),
        "format": lambda self, target, spec: format(target, spec),
        "int": lambda self, target: int(target),
        "float": lambda self, target: float(target),
        "iter": lambda self, target: iter(target),
        "next": lambda self, target: next(target),
        "enter": lambda self, target: type(target).__enter__(target),
        "exit": lambda self, target: bool(type(target).__exit__(target, None, None, None)),
        "is_a": lambda self, target, kind: isinstance(target, kind),
        "dir": lambda self, target: dir(target),
    }

    def call_back(self, number, args, kwargs):
        encode = self.codec.encode
        self.channel.send([self.request, "back", number, encode(args), encode(kwargs)])
        reply = self.channel.receive()
        if reply[1] == "x":
            raise getattr(_builtins, reply[2], Exception)(reply[3])
        return self.codec.decode(reply[2])

    def thrown(self, error):
        kind = type(error)
        try:
            encoded = self.codec.encode(error.args)
            extra = self.codec.encode({key: value for key, value in vars(error).items() if type(key) is str})
        except Exception:
            encoded, extra = ["t", str(error)[:1000]], ["d"]
        return [self.request, "x", self.opaque(kind, 0), encoded, extra]

    def answer(self, request):
        number, asked, args = request
        self.request = number
        values = self.codec.decode(args)
        before = self.channel.dumps(self.codec.encode(values)) if _CAN_CHANGE.search(self.channel.dumps(args)) else None
        try:
            result = self.ASKED[asked](self, *values)
        except BaseException as error:
            return self.with_changes(self.thrown(error), before, values)
        if asked == "call":
            for place, value in enumerate(values[1]):
                if result is value and type(value) in (list, dict, set, bytearray):
                    return self.with_changes([number, "a", place], before, values)
        try:
            return self.with_changes([number, "v", self.codec.encode(result)], before, values)
        except (Unsendable, RecursionError, RuntimeError) as error:
            return self.thrown(ValueError("the result cannot be sent: %s" % error))

    def with_changes(self, reply, before, values):
        """The reply, with the arguments behind it when the call changed a list, dict or set of the test."""
        if before is not None:
            try:
                after = self.codec.encode(values)
                if self.channel.dumps(after) != before:
                    reply.append(after)
            except (Unsendable, RecursionError, RuntimeError):
                pass
        return reply

    # ---- the program ----
    def load(self, solution, prompt, entry):
        module = self.module = _types.ModuleType("solution")
        module.__file__ = "solution.py"
        _sys.modules["solution"] = module
        public = _preamble(prompt, entry)
        if public is not None and entry and not _defines(solution, entry):
            whole = prompt + solution if solution[:1] in " \t" else prompt + "\n" + solution
            try:
                compile(whole, "solution.py", "exec")
                solution = whole
            except SyntaxError:
                pass
        code = compile(solution, "solution.py", "exec")
        if public is not None:
            try:
                exec(compile(public, "<prompt>", "exec"), module.__dict__)
            except Exception:
                pass  # prose that happens to be Python
        exec(code, module.__dict__)

    def serve(self):
        while True:
            self.channel.send(self.answer(self.channel.receive()))


def _preamble(prompt, entry):
    """The imports and helpers of the prompt; None when it is no Python."""
    try:
        tree = _ast.parse(prompt)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    tree.body = [node for node in tree.body if getattr(node, "name", None) != entry]
    return tree


def _defines(source, name):
    try:
        tree = _ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    for node in tree.body:
        if getattr(node, "name", None) == name:
            return True
        if isinstance(node, _ast.ClassDef) and node.name == "Solution":
            return True
        for target in _ast.walk(node):
            if isinstance(target, (_ast.Name,)) and target.id == name and isinstance(target.ctx, _ast.Store):
                return True
            if isinstance(target, _ast.alias) and (target.asname or target.name) in (name, "*"):
                return True
            if getattr(target, "name", None) == name:
                return True
    return False


def _main():
    driver = Driver(Channel(3, False))
    with open("solution.py", encoding="utf-8", errors="surrogateescape", newline="") as file:
        solution = file.read()
    with open("prompt.json", encoding="utf-8") as file:
        public = _json.loads(file.read())
    _sys.setrecursionlimit(_sys.getrecursionlimit() + 32)
    _sys.argv = ["solution.py"]
    try:
        driver.load(solution, public["prompt"], public["entry"])
    except BaseException as error:
        driver.channel.send(driver.thrown(error))
        _os._exit(1)
    driver.channel.send([0, "v", None])
    try:
        driver.serve()
    except EOFError:
        _os._exit(0)


_main()

# reward/code/examiner.py - runs the tests in a sandbox of its own; the candidate is a process in another one.
#
# Trusted: it holds the tests and the nonce. Last part of a program that begins with codec.py and proxies.py. The verdict
# is one line on the stdout that the program started with: the nonce and a JSON object. It is written once, after the last
# test.
import ast as _ast
import math as _math
import signal as _signal
import sys as _sys
import types as _types

# ---- names ----
_OWN_MODULES = (
    "math cmath re collections itertools functools random string datetime copy json heapq bisect operator statistics "
    "decimal fractions typing sys os time cProfile inspect types enum dataclasses textwrap io unittest"
).split()
_OWN_NAMES = {
    "collections": "Counter OrderedDict defaultdict deque namedtuple",
    "typing": "List Dict Tuple Set Optional Any Union Callable Iterable",
    "fractions": "Fraction",
    "decimal": "Decimal",
    "copy": "deepcopy",
}


def _stored(tree):
    names = set()
    for node in _ast.walk(tree):
        if isinstance(node, _ast.Name) and not isinstance(node.ctx, _ast.Load):
            names.add(node.id)
        elif isinstance(node, (_ast.FunctionDef, _ast.ClassDef, _ast.AsyncFunctionDef)):
            names.add(node.name)
        elif isinstance(node, _ast.alias):
            names.add((node.asname or node.name).split(".")[0])
        elif isinstance(node, _ast.arg):
            names.add(node.arg)
        elif isinstance(node, _ast.ExceptHandler) and node.name:
            names.add(node.name)
    return names


def _loaded(tree):
    return {node.id for node in _ast.walk(tree) if isinstance(node, _ast.Name) and isinstance(node.ctx, _ast.Load)}


def _absent(name):
    import importlib.util

    return importlib.util.find_spec(name) is None


def _called_first(tree):
    """The function whose result the first assert looks at: what is under test when all names are builtins."""
    for node in tree.body:
        if isinstance(node, _ast.Assert):
            side = node.test.left if isinstance(node.test, _ast.Compare) else node.test
            for inner in _ast.walk(side):
                if isinstance(inner, _ast.Call) and isinstance(inner.func, _ast.Name):
                    return inner.func.id
    return None


class Examiner:
    def __init__(self, task):
        self.task = task
        self.remote = Remote(Channel(3, True))
        self.passed_first, self.passed, self.total, self.first, self.verdict, self.why = 0, 0, 0, -1, "AC", ""
        self.space = {"__name__": "tests", "__builtins__": _builtins}

    # ---- the verdict ----
    def failed(self, verdict, error):
        if self.first < 0:
            text = error if type(error) is str else "%s: %s" % (type(error).__name__, _shown(error))
            self.first, self.verdict, self.why = self.total - 1, verdict, text[:400]

    def attempt(self, what, *args):
        """One test. Gone and Unsupported go on upwards."""
        self.total += 1
        try:
            _signal.setitimer(_signal.ITIMER_REAL, self.task.get("each_s", 0))
            try:
                what(*args)
            finally:
                _signal.setitimer(_signal.ITIMER_REAL, 0)
        except (Gone, Unsupported):
            raise
        except AssertionError as error:
            self.failed("WA", error)
        except BaseException as error:
            self.failed("RE", error)
        else:
            if self.remote.gone:
                raise Gone(self.remote.gone)
            self.passed += 1
            self.passed_first += self.total <= 10
            return
        if self.remote.gone:
            raise Gone(self.remote.gone)

    def slow(self, number, frame):
        self.remote.gone = "a call took longer than a test may"
        raise Slow(self.remote.gone)

    def wait(self):
        reply = self.remote.receive(0)
        result = self.remote.result(reply, ())
        if isinstance(result, BaseException):
            raise result

    # ---- names of the tests ----
    def bind(self, tree, entry):
        """Puts what the test takes for granted into its names: the candidate's functions, and modules it forgot to import."""
        defined = _stored(tree) | set(self.space)
        wanted = _loaded(tree) - defined
        foreign = {name for name in wanted if not hasattr(_builtins, name)}
        own = {name for name in foreign if name != entry and (name in _OWN_MODULES or any(name in names.split() for names in _OWN_NAMES.values()))}
        if not foreign - own and entry is None:
            first = _called_first(tree)
            foreign |= {first} - {None}
            own -= {first}
        if entry:
            foreign.add(entry)
        for name in own:
            self.space[name] = self.own(name)
        asked = sorted(foreign - own)
        if asked:
            self.space.update(self.remote.ask("names", asked))

    @staticmethod
    def own(name):
        if name in _OWN_MODULES:
            return __import__(name)
        module = next(module for module, names in _OWN_NAMES.items() if name in names.split())
        return getattr(__import__(module), name)

    def modules(self, tree):
        """Modules the tests import and nobody has: the candidate's."""
        for node in _ast.walk(tree):
            names = [alias.name for alias in node.names] if isinstance(node, _ast.Import) else []
            if isinstance(node, _ast.ImportFrom):
                names = [node.module or "solution"]
                node.level = 0
                node.module = node.module or "solution"
            for name in names:
                top = name.split(".")[0]
                if name == self.task.get("module") or (name not in _sys.modules and _absent(top)):
                    star = isinstance(node, _ast.ImportFrom) and any(alias.name == "*" for alias in node.names)
                    self.add_module(name, star)

    def add_module(self, name, star):
        if name.split(".")[0] == "pytest":
            _sys.modules["pytest"] = _pytest()
            return
        remote = self.remote
        module = _types.ModuleType(name)

        def found(attribute):
            if attribute.startswith("__"):
                raise AttributeError(attribute)
            names = remote.ask("names", [attribute])
            if attribute not in names:
                raise AttributeError("the program has no %s" % attribute)
            setattr(module, attribute, names[attribute])
            return names[attribute]

        module.__getattr__ = found
        module.__path__ = []
        if star:
            vars(module).update(remote.ask("names", []))
        _sys.modules[name] = module

    # ---- kinds of tests ----
    def run_setup(self):
        for key in ("imports", "setup"):
            source = self.task.get(key) or ""
            if source.strip():
                tree = _parsed(source, key)
                self.modules(tree)
                self.bind(tree, self.task.get("entry"))
                exec(compile(tree, "<%s>" % key, "exec"), self.space)

    def run_prompt(self):
        """Helpers that the prompt gives: ours are used, not the candidate's."""
        entry = self.task.get("entry")
        try:
            tree = _ast.parse(self.task.get("prompt") or "")
        except (SyntaxError, ValueError, RecursionError):
            return set()
        tree.body = [node for node in tree.body if getattr(node, "name", None) != entry]
        try:
            exec(compile(tree, "<prompt>", "exec"), self.space)
        except Exception:
            pass
        return {node.name for node in tree.body if isinstance(node, _ast.FunctionDef)}

    def run_asserts(self):
        entry = self.task.get("entry")
        tree = _parsed(self.task["test"], "test")
        helpers = self.run_prompt()
        self.run_with(tree, entry)
        helpers &= _loaded(tree)
        if helpers and self.first < 0 and self.total:
            # A response may write the prompt's helpers again: the tests hold with ours, and with those.
            self.passed = self.passed_first = self.total = 0
            self.space = {"__name__": "tests", "__builtins__": _builtins}
            self.run_prompt()
            self.space.update(self.remote.ask("names", sorted(helpers)))
            self.run_with(tree, entry)

    def run_with(self, tree, entry):
        plain = entry if entry and entry.isidentifier() else None
        self.modules(tree)
        self.run_setup()
        self.bind(tree, plain)
        candidate = self.remote.ask("find", entry) if entry else None
        if entry and "candidate" in _loaded(tree) - _stored(tree):
            self.space["candidate"] = candidate
        for place, node in enumerate(tree.body):
            part = _ast.Module([node], [])
            code = compile(part, "<test>", "exec")
            if isinstance(node, _ast.Assert):
                self.attempt(exec, code, self.space)
            else:
                self.step(node, code)
            if self.first >= 0 and self.task["stop"]:
                self.total += sum(isinstance(later, _ast.Assert) for later in tree.body[place + 1 :])
                return
        self.run_collected(candidate)

    def step(self, node, code):
        """Not a test in itself: a definition, a set-up line, check(candidate). Its failure is a failed test."""
        if any(isinstance(inner, _ast.Assert) for inner in _ast.walk(node)) and not isinstance(
            node, (_ast.FunctionDef, _ast.ClassDef, _ast.AsyncFunctionDef)
        ) or (isinstance(node, _ast.Expr) and isinstance(node.value, _ast.Call)):
            self.attempt(exec, code, self.space)
            return
        try:
            exec(code, self.space)
        except AssertionError as error:
            self.total += 1
            self.failed("WA", error)
        except Exception as error:
            self.total += 1
            self.failed("RE", error)

    def run_collected(self, candidate):
        """check(candidate) of HumanEval, when the test did not call it; else test cases and test functions."""
        unittest = _sys.modules.get("unittest")
        check = self.space.get("check")
        if isinstance(check, _types.FunctionType) and self.task.get("entry") and self.total == 0:
            self.attempt(check, candidate)
            return
        for name, value in list(self.space.items()):
            if unittest and isinstance(value, type) and issubclass(value, unittest.TestCase) and value.__module__ == "tests":
                self.run_suite(unittest.defaultTestLoader.loadTestsFromTestCase(value), unittest.TestResult)
            elif isinstance(value, type) and name.startswith("Test"):
                for method in [method for method in dir(value) if method.startswith("test")]:
                    self.attempt_all(getattr(value(), method))
            elif isinstance(value, _types.FunctionType) and name.startswith("test"):
                self.attempt_all(value)

    def attempt_all(self, function):
        for values in getattr(function, "weir_cases", None) or [()]:
            if self.first >= 0 and self.task["stop"]:
                return
            self.attempt(function, *values)

    def run_suite(self, suite, base):
        examiner = self

        class Result(base):
            def startTest(self, test):
                examiner.total += 1

            def addSuccess(self, test):
                if examiner.remote.gone:
                    raise Gone(examiner.remote.gone)
                examiner.passed += 1
                examiner.passed_first += examiner.total <= 10

            def addSkip(self, test, reason):
                examiner.total -= 1

            def addExpectedFailure(self, test, error):
                examiner.passed += 1

            def addUnexpectedSuccess(self, test):
                examiner.failed("WA", "an expected failure passed")

            def addFailure(self, test, error):
                examiner.failed("WA", error[1])

            def addError(self, test, error):
                if issubclass(error[0], (Gone, Unsupported)):
                    raise error[1]
                examiner.failed("RE", error[1])

            def addSubTest(self, test, inner, error):
                if error is not None:
                    examiner.failed("WA" if issubclass(error[0], AssertionError) else "RE", error[1])

        before = self.first
        result = Result()
        result.failfast = self.task["stop"]
        suite.run(result)
        if self.first >= 0 and before < 0:
            self.first = max(self.first, 0)

    def run_calls(self):
        """fn_name with inputs and outputs: values are compared here."""
        function = self.remote.ask("find", self.task["entry"])
        for args, wanted in self.task["calls"]:
            self.attempt(self.one_call, function, args, wanted)
            if self.first >= 0 and self.task["stop"]:
                return

    def one_call(self, function, args, wanted):
        got = function(**args) if type(args) is dict else function(*args)
        if not _same(_plain(got), wanted) and not (
            type(wanted) is list and len(wanted) == 1 and self.task.get("wrapped") and _same(_plain(got), wanted[0])
        ):
            raise AssertionError("%s, expected %s" % (_shown(got), _shown(wanted)))

    def run(self):
        _signal.signal(_signal.SIGALRM, self.slow)
        try:
            self.wait()
        except (Gone, Malformed):
            raise Gone(self.remote.gone or "it broke the protocol") from None
        except BaseException as error:
            self.total += 1
            self.failed("WA" if isinstance(error, AssertionError) else "RE", error)
            self.total = max(self.total, self.task.get("count", 0))
            return
        if "calls" in self.task:
            self.run_guarded(self.run_calls)
        else:
            self.run_guarded(self.run_asserts)

    def run_guarded(self, what):
        try:
            what()
        except (Unsupported, Gone, BadTest):
            raise
        except BaseException as error:
            self.total += 1
            self.failed("RE", error)


class BadTest(BaseException):
    """The tests themselves are no Python."""


def _parsed(source, what):
    try:
        return _ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise BadTest("the %s is no Python: %s" % (what, error)) from None


def _shown(value):
    try:
        return str(value)[:200] if isinstance(value, BaseException) else repr(value)[:150]
    except BaseException:
        return "?"


def _plain(value):
    """As JSON would have it: tuples and other sequences are lists, keys are texts."""
    if isinstance(value, (list, tuple, _collections.deque, _array.array)):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key) if not isinstance(key, str) else key: _plain(item) for key, item in value.items()}
    if type(value) is Proxy and _can(value) in ("i", "v"):
        return _plain(list(value)) if _can(value) == "i" else _plain(_ask(value, "value"))
    return value


def _same(got, wanted):
    """JSON values; floats within 1e-6 absolute or relative."""
    if isinstance(got, float) or isinstance(wanted, float):
        if type(got) not in (int, float) or type(wanted) not in (int, float):
            return False
        if got == wanted:
            return True
        try:
            return _math.isclose(got, wanted, rel_tol=1e-6, abs_tol=1e-6)
        except OverflowError:
            return False
    if type(got) is list and type(wanted) is list:
        return len(got) == len(wanted) and all(map(_same, got, wanted))
    if isinstance(got, dict) and isinstance(wanted, dict):
        return got.keys() == wanted.keys() and all(_same(got[key], wanted[key]) for key in wanted)
    if isinstance(got, (set, frozenset)) and type(wanted) is list:
        return len(got) == len(wanted) and all(item in got for item in wanted)
    return type(got) in (type(None), bool, int, str) and type(wanted) in (type(None), bool, int, str) and got == wanted


def _pytest():
    """The little of pytest that test functions use."""
    import contextlib
    import re

    module = _types.ModuleType("pytest")

    @contextlib.contextmanager
    def raises(kinds, match=None):
        seen = _types.SimpleNamespace(value=None, type=None)
        try:
            yield seen
        except kinds as error:
            seen.value, seen.type = error, type(error)
            if match is not None and not re.search(match, str(error)):
                raise AssertionError("the message does not match") from None
            return
        raise AssertionError("nothing was raised")

    class Approx:
        def __init__(self, wanted, rel=None, abs=None):
            self.wanted, self.rel, self.abs = wanted, 1e-6 if rel is None else rel, 1e-12 if abs is None else abs

        def close(self, one, two):
            if isinstance(two, (list, tuple)):
                return type(one) is type(two) and len(one) == len(two) and all(map(self.close, one, two))
            if isinstance(two, dict):
                return isinstance(one, dict) and one.keys() == two.keys() and all(self.close(one[key], two[key]) for key in two)
            return one == two or (type(one) in (int, float) and _math.isclose(one, two, rel_tol=self.rel, abs_tol=self.abs))

        def __eq__(self, other):
            return self.close(other, self.wanted)

    def parametrize(names, values, **_):
        count = len([name for name in names.split(",") if name.strip()]) if isinstance(names, str) else len(names)

        def mark(function):
            function.weir_cases = [tuple(value) if count > 1 else (value,) for value in values]
            return function

        return mark

    module.raises, module.approx = raises, Approx
    module.mark = _types.SimpleNamespace(parametrize=parametrize)

    def fail(text=""):
        raise AssertionError(text)

    module.fail = fail
    return module


def _main():
    record = _os.dup(1)
    task = _json.loads(_sys.stdin.buffer.read().decode("utf-8", "surrogatepass"))
    nonce = task.pop("nonce")
    _sys.stdout = _sys.stderr = open(_os.devnull, "w", encoding="utf-8", errors="replace")
    _sys.stdin = open(_os.devnull)
    _sys.modules["tests"] = _types.ModuleType("tests")
    examiner = Examiner(task)
    found = {}
    try:
        examiner.run()
        if examiner.total == 0:
            found["unscorable"] = "the row has no test"
    except Gone as error:
        examiner.total = max(examiner.total, 1)
        slow = isinstance(error, Slow)
        found["gone"] = not slow and examiner.first < 0
        examiner.failed("TLE" if slow else "RE", str(error))
    except Unsupported as error:
        found["unscorable"] = "the test needs what cannot cross: %s" % error
    except BadTest as error:
        found["unscorable"] = str(error)
    found.update(verdict=examiner.verdict, passed=examiner.passed, passed_first=examiner.passed_first, total=max(examiner.total, task.get("count", 0)), first=examiner.first, why=examiner.why)
    line = "\n%s %s\n" % (nonce, _json.dumps(found))
    _os.write(record, line.encode("ascii"))
    _os._exit(0)


_main()

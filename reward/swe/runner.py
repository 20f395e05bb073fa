# reward/swe/runner.py - runs the unit tests of a repository in the sandbox and says what each did.
#
# The tests and the program they test share this process, as unit tests do, so what is said here is checked: the host
# wants each expected test exactly once, under a nonce that came over descriptor 3 and not by argument or file; tests must
# be the ones in the file (their code is compared with it after each test); unittest, the builtins and the import system must be
# what they were; and in a second run, the control, every assertion raises: a test with assertions that passes there
# was not run honestly.
import sys

sys.path.pop(0)  # the folder of the program: nothing of it may stand for a module that is imported below
import ast
import builtins
import importlib.abc
import importlib.machinery
import json
import os
import random
import types
import unittest

WRITE, EXIT = os.write, os._exit
KEPT = ("assertLogs", "assertNoLogs")  # they work in the control too: what is logged inside must be seen


def read_order():
    text = b""
    while not text.endswith(b"\n"):
        piece = os.read(3, 65536)
        if not piece:
            EXIT(3)
        text += piece
    return json.loads(text)


class Control(ast.NodeTransformer):
    """`assert x` becomes `assert False`."""

    def visit_Assert(self, node):
        return ast.copy_location(ast.Assert(ast.copy_location(ast.Constant(False), node), None), node)


class TestSource(importlib.abc.Loader):
    """Loads one test module from the text the host vouches for."""

    def __init__(self, path, control):
        self.path = path
        with open(path, "rb") as file:
            tree = ast.parse(file.read(), path)
        self.asserting = find_asserting(tree)
        if control:
            tree = ast.fix_missing_locations(Control().visit(tree))
        self.code = compile(tree, path, "exec", dont_inherit=True)

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        exec(self.code, module.__dict__)


def find_asserting(tree):
    """Names of the functions that have an assertion in them: assert, or self.assertX."""
    found = set()
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        for node in ast.walk(function):
            method = node.attr if isinstance(node, ast.Attribute) else ""
            if isinstance(node, ast.Assert) or (method.startswith("assert") and method not in KEPT):
                found.add(function.name)
    return found


class Finder(importlib.abc.MetaPathFinder):
    def __init__(self, sources):
        self.sources = sources

    def find_spec(self, name, path=None, target=None):
        source = self.sources.get(name)
        if source is None:
            return None
        return importlib.machinery.ModuleSpec(name, source, origin=source.path)


def codes_of(code, found):
    """qualified name -> code objects compiled from the file."""
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            found.setdefault(constant.co_name, []).append(constant)
            codes_of(constant, found)
    return found


def fingerprint(owner, functions_only=False):
    """What must stay the same of a class or module: each member, and the code of its functions."""
    members = dict(vars(owner))
    if functions_only:  # test classes keep data of their own in themselves
        members = {
            name: member
            for name, member in members.items()
            if isinstance(getattr(member, "__func__", member), types.FunctionType)
        }
    codes = {}
    for name, member in members.items():
        function = getattr(member, "__func__", member)
        if isinstance(function, types.FunctionType):
            codes[name] = (function.__code__, function.__defaults__, function.__closure__)
    return owner, members, codes


def differs(print_):
    owner, members, codes = print_
    now = vars(owner)
    for name, member in members.items():
        if name in ("__warningregistry__", "_", "__doc__"):
            continue
        if now.get(name) is not member:
            return f"{owner.__name__}.{name} was replaced"
    for name, (code, defaults, closure) in codes.items():
        function = getattr(members[name], "__func__", members[name])
        if function.__code__ is not code or function.__defaults__ is not defaults:
            return f"the code of {owner.__name__}.{name} was replaced"
    return None


class Guard:
    """Looks after each test whether somebody changed what decides about it."""

    def __init__(self):
        case = unittest.case
        owners = [builtins, unittest, case, unittest.result, unittest.suite, unittest.loader]
        owners += [case.TestCase, case._Outcome, unittest.result.TestResult, unittest.suite.TestSuite]
        owners += [unittest.suite.BaseTestSuite, case._AssertRaisesContext, case._AssertRaisesBaseContext]
        owners += [Record, Guard, TestSource]
        self.prints = [fingerprint(owner) for owner in owners]
        self.test_prints = []
        self.meta_path = None

    def add_tests(self, cases, sources):
        classes = {type(test) for test in cases}
        for found in classes:
            source = sources.get(found.__module__)
            if source is None:
                continue
            codes = codes_of(source.code, {})
            for name, member in vars(found).items():
                function = getattr(member, "__func__", member)
                function = getattr(function, "__wrapped__", function)
                if name.startswith("test") and isinstance(function, types.FunctionType):
                    known = codes.get(function.__code__.co_name, [])
                    if function.__code__.co_filename == source.path and function.__code__ not in known:
                        return f"{found.__name__}.{name} is not what the file says"
            self.test_prints.append(fingerprint(found, True))
        self.meta_path = list(sys.meta_path)
        return None

    def complaint(self):
        if sys.gettrace() is not None or sys.getprofile() is not None:
            return "a trace function is set"
        if self.meta_path is not None and list(sys.meta_path)[: len(self.meta_path)] != self.meta_path:
            return "the import system was changed"
        for print_ in self.prints + self.test_prints:
            why = differs(print_)
            if why is not None:
                return why
        return self.probe()

    @staticmethod
    def probe():
        """Assertions still assert."""
        case = unittest.TestCase()
        one, other = random.SystemRandom().random(), random.SystemRandom().random()
        for attempt in (lambda: case.assertEqual(one, other), lambda: case.assertTrue(one > 2)):
            try:
                attempt()
            except AssertionError:
                continue
            return "assertions do not fail any more"
        return None


class Record(unittest.TestResult):
    """One line a test on descriptor 3: nonce, outcome, id."""

    def __init__(self, nonce, guard, asserting):
        super().__init__()
        self.nonce, self.guard, self.asserting = nonce, guard, asserting
        self.said = set()
        self.bad = set()

    def say(self, test, outcome):
        key = test.id()
        if key in self.said:
            return
        self.said.add(key)
        why = self.guard.complaint()
        if why is not None:
            outcome = "TAMPERED"
        name = getattr(test, "_testMethodName", "")
        asserts = int(name in self.asserting)
        line = json.dumps([self.nonce, key, outcome, asserts, why or ""]) + "\n"
        data = line.encode()
        while data:
            data = data[WRITE(3, data) :]

    def addSuccess(self, test):
        self.say(test, "FAILED" if test.id() in self.bad else "PASSED")

    def addFailure(self, test, err):
        self.say(test, "FAILED")

    def addError(self, test, err):
        self.say(test, "ERROR")

    def addSkip(self, test, reason):
        self.say(test, "SKIPPED")

    def addExpectedFailure(self, test, err):
        self.say(test, "XFAIL")

    def addUnexpectedSuccess(self, test):
        self.say(test, "FAILED")

    def addSubTest(self, test, subtest, err):
        if err is not None:
            self.bad.add(test.id())
            self.say(test, "FAILED")


def refuse_all():
    """The control: every assertion raises."""

    def refuse(self, *args, **kwargs):
        raise self.failureException("control")

    for name in dir(unittest.TestCase):
        if name.startswith("assert") and name not in KEPT:
            setattr(unittest.TestCase, name, refuse)


def cases_of(suite):
    for test in suite:
        if isinstance(test, unittest.TestSuite):
            yield from cases_of(test)
        else:
            yield test


def main():
    order = read_order()
    nonce, control = order["nonce"], order["control"]
    os.chdir(order["folder"])
    sys.path.insert(0, order["folder"])
    if "top" in order:
        sys.path.insert(0, order["top"])
    sys.argv = ["unittest"]
    if control:
        Guard.probe = staticmethod(lambda: None)
        refuse_all()
    guard = Guard()
    sources, names = {}, []
    for name, path in order["modules"]:
        try:
            sources[name] = TestSource(path, control)
            names.append(name)
        except (OSError, SyntaxError, ValueError):
            continue
    sys.meta_path.insert(0, Finder(sources))
    asserting = set().union(*(source.asserting for source in sources.values())) if sources else set()
    loader, suite = unittest.TestLoader(), unittest.TestSuite()
    for name in names:
        try:
            suite.addTests(loader.loadTestsFromName(name))
        except BaseException:
            continue
    cases = list(cases_of(suite))
    why = guard.add_tests(cases, sources)
    if why is not None:
        guard.complaint = lambda: why
    result = Record(nonce, guard, asserting)
    suite.run(result)
    WRITE(3, (json.dumps([nonce, "", "END", len(result.said), guard.complaint() or ""]) + "\n").encode())
    EXIT(0)


main()

# What the Python of a zygote runs: loads the modules, then serves; the process of a program comes out of zygote_serve.
import atexit
import ctypes
import gc
import linecache
import os
import sys
import threading
import traceback


def become_program():
    library = ctypes.PyDLL("/proc/self/fd/4")  # PyDLL: the interpreter lock is held across the fork
    library.zygote_source.restype = ctypes.c_void_p
    library.zygote_source_size.restype = ctypes.c_size_t
    library.zygote_variable.restype = ctypes.c_char_p
    os.close(4)
    for name in sys.argv[2:]:
        try:
            __import__(name)
        except ImportError:
            pass
    hooks = [ctypes.cast(getattr(ctypes.pythonapi, name), ctypes.c_void_p)
             for name in ("PyOS_BeforeFork", "PyOS_AfterFork_Parent", "PyOS_AfterFork_Child")]
    gc.collect()
    gc.freeze()
    if library.zygote_serve(3, 5, ctypes.c_size_t(int(sys.argv[1])), *hooks) != 0:
        os._exit(1)
    source = ctypes.string_at(library.zygote_source(), library.zygote_source_size())
    if library.zygote_has_variables():
        os.environ.clear()
        index = 0
        while (text := library.zygote_variable(index)) is not None:
            name, _, value = os.fsdecode(text).partition("=")
            os.environ[name] = value
            index += 1
    library.zygote_release()
    module = type(sys)("__main__")
    module.__file__ = os.path.join(os.getcwd(), "main.py")
    module.__builtins__ = sys.modules["builtins"]
    sys.modules["__main__"] = module
    sys.argv[:] = ["main.py"]
    sys.path[0:1] = [os.getcwd()]
    return source, module


def show_error():
    kind, error, trace = sys.exc_info()
    lines = source.decode("utf-8", "replace").splitlines(True)
    linecache.cache[main.__file__] = (len(source), None, lines, main.__file__)
    try:
        sys.stdout.flush()
    finally:
        traceback.print_exception(kind, error, trace.tb_next)


def leave(code):
    """The end of a Python program without taking the interpreter apart: that would touch, and so copy, all of it."""
    try:
        threading._shutdown()
        atexit._run_exitfuncs()
        main.__dict__.clear()  # files that the program left open are written
        gc.collect()
        for stream in (sys.stdout, sys.__stdout__, sys.stderr, sys.__stderr__):
            if stream is not None and not getattr(stream, "closed", True):
                stream.flush()
    except BaseException:
        show_error()
        code = code or 120
    finally:
        os._exit(code)


def exit_code(value):
    if value is None or isinstance(value, int):
        return (value or 0) & 255
    print(value, file=sys.stderr)
    return 1


source, main = become_program()
try:
    exec(compile(source, main.__file__, "exec", dont_inherit=True), main.__dict__)
    status = 0
except SystemExit as end:
    status = exit_code(end.code)
except BaseException:
    show_error()
    status = 1
leave(status)

#!/usr/bin/env python3
"""Every header compiles alone as C17, with the warnings of the build as errors.

CC names the compiler (gcc when unset). CUDA headers belong to nvcc and are left out.
"""
import concurrent.futures
import os
import shutil
import subprocess

import tree

FLAGS = ["-std=c17", "-D_GNU_SOURCE", "-fsyntax-only", "-Wall", "-Wextra", "-Wshadow",
         "-Wconversion", "-Wstrict-prototypes", "-Wvla", "-Werror", "-Wno-psabi",
         "-I.", '-DSOURCE_DIR="."', '-DBUILD_DIR="build"']


def first_error(compiler, root, name):
    done = subprocess.run([compiler, *FLAGS, "-include", name, "-x", "c", "/dev/null"],
                          cwd=root, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    errors = [line for line in done.stderr.splitlines() if "error" in line]
    return f"{name}:1: does not compile alone: {(errors or ['compiler failed'])[0]}"


def main():
    root = tree.root_from_arguments()
    compiler = os.environ.get("CC", "gcc")
    if not shutil.which(compiler):
        tree.skip(f"no {compiler}: set CC or run ops/deps test")
    names = [name for name in tree.files(root, ".h") if not name.startswith("kernels/cuda/")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        errors = pool.map(lambda name: first_error(compiler, root, name), names)
    tree.finish([line for line in errors if line], "headers that need another include")


if __name__ == "__main__":
    main()

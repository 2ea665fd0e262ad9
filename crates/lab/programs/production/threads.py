# Threads of Python that sleep in the kernel.
import os
import select
import threading
import time


def py_sleep(depth):
    if depth:
        return py_sleep(depth - 1)
    time.sleep(86400)


def py_select(depth):
    if depth:
        return py_select(depth - 1)
    select.select([], [], [])


def py_read(depth):
    if depth:
        return py_read(depth - 1)
    os.read(os.pipe()[0], 1)


def py_wait(depth):
    if depth:
        return py_wait(depth - 1)
    threading.Event().wait()


for body in (py_sleep, py_select, py_read, py_wait):
    for _ in range(3):
        threading.Thread(target=body, args=(3,), daemon=True).start()
time.sleep(0.5)
print("up", flush=True)
py_sleep(5)

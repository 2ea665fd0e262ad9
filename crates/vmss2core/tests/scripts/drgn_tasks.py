"""drgn on CORE with VMLINUX: every task, and the stack of each CPU's task."""
import os

import drgn
from drgn.helpers.linux import cpu_curr, for_each_present_cpu, for_each_task

prog = drgn.Program()
prog.set_core_dump(os.environ["CORE"])
prog.load_debug_info([os.environ["VMLINUX"]])
for task in for_each_task(prog):
    print("task", task.pid.value_(), task.comm.string_().decode(errors="replace"))
# Present, not online: a panic takes the other CPUs offline.
for cpu in for_each_present_cpu(prog):
    task = cpu_curr(prog, cpu)
    names = [frame.name for frame in prog.stack_trace(task) if frame.name]
    print("stack", cpu, task.pid.value_(), *names)

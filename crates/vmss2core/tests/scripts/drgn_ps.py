"""drgn on CORE with VMLINUX: every task that has a number, and what CPUs run."""
import os

import drgn
from drgn.helpers.linux import (
    cpu_curr, for_each_present_cpu, for_each_task, task_cpu, task_state_to_char)

prog = drgn.Program()
prog.set_core_dump(os.environ["CORE"])
prog.load_debug_info([os.environ["VMLINUX"]])
for task in for_each_task(prog):
    print("task", task.pid.value_(), task.tgid.value_(), task.real_parent.tgid.value_(),
          task_state_to_char(task), task_cpu(task), hex(task.value_()),
          task.cred.euid.val.value_(), task.start_boottime.value_(), hex(task.mm.value_()),
          task.comm.string_().decode(errors="replace"))
for cpu in for_each_present_cpu(prog):
    print("runs", cpu, hex(cpu_curr(prog, cpu).value_()))

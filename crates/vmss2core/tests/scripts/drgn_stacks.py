"""drgn on CORE with VMLINUX: the return addresses on every kernel stack."""
import os

import drgn
from drgn.helpers.linux import cpu_curr, for_each_present_cpu, for_each_task

prog = drgn.Program()
prog.set_core_dump(os.environ["CORE"])
prog.load_debug_info([os.environ["VMLINUX"]])
idle = [cpu_curr(prog, cpu) for cpu in for_each_present_cpu(prog)]
idle = [task for task in idle if task.pid.value_() == 0]
for task in [*for_each_task(prog), *idle]:
    try:
        trace = prog.stack_trace(task)
    except (ValueError, drgn.FaultError):
        # A task that has ended; what its stack pointer led to may be gone.
        continue
    frames = [frame.pc for frame in trace if not frame.is_inline]
    print("stack", task.pid.value_(), *(f"{pc:x}" for pc in frames))

"""drgn on CORE with VMLINUX: the kernel's log, as text and record by record."""
import json
import os

import drgn
from drgn.helpers.linux.printk import get_dmesg, get_printk_records

prog = drgn.Program()
prog.set_core_dump(os.environ["CORE"])
prog.load_debug_info([os.environ["VMLINUX"]])
records = [
    {
        "time_ns": record.timestamp,
        "level": record.level,
        "facility": record.facility,
        "thread": record.caller_tid,
        "cpu": record.caller_cpu,
        "text": record.text.decode(errors="replace"),
    }
    for record in get_printk_records(prog)
]
print(json.dumps({"records": records, "text": get_dmesg(prog).decode(errors="replace")}))

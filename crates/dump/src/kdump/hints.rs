//! Command lines that open the file.

use vmss2core_mem::text::shell_path;

use crate::Job;
use crate::elf_core::vmcore_openers;

/// A kdump-compressed file, or one in the flattened form.
pub(super) fn lines(job: &Job<'_>, is_flat: bool) -> Vec<String> {
    let core = job.path;
    let Some(linux) = job.facts.linux() else { return Vec::new() };
    let mut hints = vmcore_openers(linux, core);
    if is_flat {
        hints.push(format!("makedumpfile -R vmcore < {}", shell_path(core)));
    }
    hints
}

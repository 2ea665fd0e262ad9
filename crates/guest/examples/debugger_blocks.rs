//! Lists what looks like Windows' debugger data in all of a raw memory image whose
//! guest physical addresses are file offsets: living blocks and stale copies.
//!
//! ```text
//! cargo run --release -p vmss2core-guest --example debugger_blocks -- memory.raw
//! ```
//!
//! `cargo xtask bench` times it: what it does is one search of all memory.

use std::fs::File;
use std::sync::Arc;

use anyhow::Context;
use vmss2core_guest::analyse;
use vmss2core_guest::windows::debugger_blocks;
use vmss2core_machine::Checkpoint;
use vmss2core_mem::{Gpa, PhysicalMemory};

#[expect(clippy::print_stdout, reason = "an example is a program")]
fn main() -> anyhow::Result<()> {
    let path = std::env::args_os().nth(1).context("which memory image?")?;
    let file = File::open(&path)?;
    let len_bytes = file.metadata()?.len();
    let mut memory = PhysicalMemory::new();
    memory.map(Gpa(0), len_bytes, Arc::new(file), 0)?;
    let checkpoint = Checkpoint { memory, ..Checkpoint::default() };
    let facts = analyse(&checkpoint);
    let windows = facts.windows().context("no Windows guest")?;
    for (gpa, block) in debugger_blocks(&checkpoint.memory, windows) {
        println!("{gpa} {} ({})", block.value.gva, block.how);
    }
    Ok(())
}

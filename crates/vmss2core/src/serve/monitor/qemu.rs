//! Answers to what scripts for debuggers (gef, pwndbg) ask QEMU's own monitor, in its form.
//!
//! Source: the output of QEMU 7.2's `info mem`, `info registers`, `gva2gpa` and `xp`.

use std::fmt::Write;
use std::ops::ControlFlow;

use vmss2core_gdb::Selected;
use vmss2core_machine::paging::{AddressSpace, Leaf, Limits};
use vmss2core_mem::text::hex;
use vmss2core_mem::{Gpa, Gva, PhysicalMemory};

use super::Said;

/// Lines of a list that nobody reads to its end.
const MOST_LINES: usize = 100_000;
/// Bytes that are shown at once.
const MOST_BYTES: usize = 1 << 16;

/// `info mem`: what the page tables of the selected thread map, in stretches of the same
/// rights.
pub(super) fn mappings(at: Selected<'_>) -> Said {
    let space = space(at)?;
    let mut text = String::new();
    let mut run: Option<Leaf> = None;
    let mut lines = 0_usize;
    space.walk(&Limits::default(), &mut |leaf| {
        if let Some(last) = run.as_mut().filter(|last| goes_on(last, &leaf)) {
            last.pages = last.pages.saturating_add(leaf.pages);
        } else {
            if let Some(done) = run.replace(leaf) {
                line(&mut text, &done);
            }
            lines = lines.saturating_add(1);
        }
        if lines < MOST_LINES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    });
    if let Some(last) = &run {
        line(&mut text, last);
    }
    Ok(text)
}

fn goes_on(last: &Leaf, next: &Leaf) -> bool {
    let (one, other) = (last.permissions, next.permissions);
    last.end() == next.gva.0
        && (one.user, one.write) == (other.user, other.write)
        && last.pages.checked_add(next.pages).is_some()
}

fn line(text: &mut String, run: &Leaf) {
    let mark = |is: bool, mark| if is { mark } else { '-' };
    let (user, write) = (mark(run.permissions.user, 'u'), mark(run.permissions.write, 'w'));
    let (start, end, len) = (run.gva.0, run.end(), run.len_bytes());
    // Writing to a String cannot fail.
    let _ = writeln!(text, "{start:016x}-{end:016x} {len:016x} {user}r{write}");
}

/// `info registers`: the general and system registers of the selected thread.
pub(super) fn registers(at: Selected<'_>) -> Said {
    let found = at.inferior.and_then(|inferior| Some((inferior, inferior.registers(at.tid)?)));
    let (inferior, values) = found.ok_or("no thread is selected")?;
    let known = inferior.description().registers();
    let mut text = String::new();
    for register in known {
        if let Some(value) = register.value(&values) {
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{}={value:016x}", register.name.to_uppercase());
        }
    }
    for (name, value) in values.others() {
        let _ = writeln!(text, "{}={value:016x}", name.to_uppercase());
    }
    Ok(text)
}

/// `gva2gpa ADDR`.
pub(super) fn translate(at: Selected<'_>, address: Option<&&str>) -> Said {
    let gva = Gva(number(address)?);
    Ok(match space(at)?.translate(gva) {
        Ok(found) => format!("gpa: {:#x}\n", found.gpa.0),
        Err(_) => "Unmapped\n".to_owned(),
    })
}

/// `xp /NUMBERxSIZE ADDR`: physical memory.
pub(super) fn physical(memory: &PhysicalMemory, words: &[&str]) -> Said {
    let (format, address) = match words {
        [format, address] if format.starts_with('/') => (*format, address),
        [address] => ("/1xw", address),
        _ => return Err("which address? xp /8xg ADDR".to_owned()),
    };
    let (count, size) = shape(format)?;
    let start = number(Some(address))?;
    let len = count.checked_mul(size).filter(|len| *len <= MOST_BYTES).ok_or("that is too much")?;
    let mut bytes = vec![0; len];
    memory.read(Gpa(start), &mut bytes).map_err(|error| error.to_string())?;
    let per_line = if size == 1 { 8 } else { 16_usize.checked_div(size).unwrap_or(1) };
    let mut text = String::new();
    for (index, line) in bytes.chunks(per_line.saturating_mul(size)).enumerate() {
        let at = start.wrapping_add((index.saturating_mul(per_line).saturating_mul(size)) as u64);
        // Writing to a String cannot fail.
        let _ = write!(text, "{at:016x}:");
        for word in line.chunks(size) {
            let value = word.iter().rev().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
            let _ = write!(text, " 0x{value:0width$x}", width = size.saturating_mul(2));
        }
        text.push('\n');
    }
    Ok(text)
}

/// How many words of how many bytes: "/8xg", "/4gx".
fn shape(format: &str) -> Result<(usize, usize), String> {
    let letters = format.trim_start_matches('/').trim_start_matches(|c: char| c.is_ascii_digit());
    let digits = format.trim_start_matches('/').strip_suffix(letters).unwrap_or_default();
    let count = if digits.is_empty() { Ok(1) } else { digits.parse() };
    let size = letters.chars().find_map(|letter| match letter {
        'b' => Some(1),
        'h' => Some(2),
        'w' => Some(4),
        'g' => Some(8),
        _ => None,
    });
    Ok((count.map_err(|_| format!("{format}: not a number of words"))?, size.unwrap_or(4)))
}

fn space(at: Selected<'_>) -> Result<AddressSpace, String> {
    let space = at.inferior.and_then(|inferior| inferior.space(at.tid));
    space.ok_or_else(|| "no thread with page tables is selected".to_owned())
}

fn number(word: Option<&&str>) -> Result<u64, String> {
    let word = word.ok_or("which address?")?;
    match word.strip_prefix("0x") {
        Some(_) => hex(word).map_err(|error| error.to_string()),
        None => word.parse().or_else(|_| hex(word)).map_err(|error| error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_shaped_as_qemus_users_write_them() {
        for (format, want) in [
            ("/8xg", (8, 8)),
            ("/4gx", (4, 8)),
            ("/w", (1, 4)),
            ("/16bx", (16, 1)),
            ("/2x", (2, 4)),
        ] {
            assert_eq!(shape(format), Ok(want), "{format}");
        }
        assert!(shape("/99999999999999999999gx").is_err());
    }
}

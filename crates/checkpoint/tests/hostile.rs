//! Broken and hostile files, opened in a process that may not use more than
//! 256 MiB of address space: nothing panics, nothing hangs, and what is refused
//! is refused with a message that says where.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test stops where it is wrong"
)]

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use vmss2core_checkpoint::Opened;
use vmss2core_lab::vmware::{
    Delivery, Extra, Level, Machine, Packing, Placement, Random, Registers, Shape, Table, mutate,
    vectors, write_checkpoint, write_guest_dump,
};
use vmss2core_mem::{Gpa, PhysicalMemory};

use common::{chain, open_in};

/// Names the folder of inputs to the process under test.
const INPUTS: &str = "VMSS2CORE_TEST_INPUTS";
/// Debug code on a machine with other work to do; real figures are far below.
const SLOWEST: Duration = Duration::from_secs(10);
const MUTANTS_EACH: u64 = 200;

#[test]
fn every_vector_stays_within_memory_and_time() {
    let dir = tempfile::tempdir().unwrap();
    for vector in vectors().unwrap() {
        let folder = dir.path().join(&vector.name);
        for (name, contents) in &vector.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            contents.write_to(&path).unwrap();
        }
        fs::write(dir.path().join(format!("{}.input", vector.name)), &vector.inputs[0]).unwrap();
    }
    run_capped("child_opens_each", dir.path());
}

#[test]
fn mutations_of_every_shape_stay_within_memory_and_time() {
    let dir = tempfile::tempdir().unwrap();
    for (number, shape) in mutated_shapes().iter().enumerate() {
        let folder = dir.path().join(format!("shape-{number}"));
        fs::create_dir(&folder).unwrap();
        let narrow = shape.table != Table::Wide;
        let machine = if narrow {
            Machine::synthetic_32_bit(0x2_0000, 2)
        } else {
            Machine::synthetic(&[(0, 0x2_0000), (4 << 30, 0x1_0000)], 2)
        };
        let written = write_checkpoint(&machine, shape, &folder, "x").unwrap();
        note_input(dir.path(), &folder, &written.state);
    }
    for version in [1, 4, 7] {
        let folder = dir.path().join(format!("guest-{version}"));
        fs::create_dir(&folder).unwrap();
        let machine = Machine::synthetic(&[(0, 0x2_0000), (4 << 30, 0x1_0000)], 2);
        let written = write_guest_dump(&machine, version, Delivery::Plain, &folder).unwrap();
        note_input(dir.path(), &folder, &written.state);
    }
    run_capped("child_mutates_each", dir.path());
}

fn note_input(dir: &Path, folder: &Path, state: &Path) {
    let name = folder.file_name().unwrap().to_str().unwrap();
    let input = state.strip_prefix(folder).unwrap().to_str().unwrap();
    fs::write(dir.join(format!("{name}.input")), input).unwrap();
}

fn mutated_shapes() -> Vec<Shape> {
    let inside = Shape { placement: Placement::Monolithic, ..Shape::default() };
    let packed = |packing| Shape { packing, ..inside.clone() };
    let extras = vec![Extra::Msrs, Extra::Config, Extra::Screenshots, Extra::Bitmaps];
    let delivered = |delivery| Shape { delivery, ..inside.clone() };
    vec![
        Shape::default(),
        inside.clone(),
        Shape { registers: Registers::BareBoth, extras, ..inside.clone() },
        Shape { magic: 0xbed0_bed0, table: Table::Narrow72, ..inside.clone() },
        packed(Packing::FastLz(Level::One)),
        packed(Packing::FastLz(Level::Two)),
        packed(Packing::Zlib),
        delivered(Delivery::Gzip),
        delivered(Delivery::Fragments(3)),
        delivered(Delivery::Bundle(2)),
    ]
}

/// Runs one of the ignored tests below on `inputs` with its memory capped.
fn run_capped(child: &str, inputs: &Path) {
    let program = std::env::current_exe().unwrap();
    let limited = "ulimit -v 262144 && exec timeout 240 \"$0\" \"$@\"";
    let output = Command::new("sh")
        .args(["-c", limited])
        .arg(program)
        .args(["--exact", child, "--ignored", "--nocapture", "--test-threads=1"])
        .env(INPUTS, inputs)
        // Each arena reserves address space by the dozen megabytes.
        .env("MALLOC_ARENA_MAX", "1")
        .env("RUST_BACKTRACE", "0")
        .output()
        .unwrap();
    assert_ran_well(&output);
}

fn assert_ran_well(output: &Output) {
    let text = |bytes: &[u8]| {
        let text = String::from_utf8_lossy(bytes).into_owned();
        text[text.floor_char_boundary(text.len().saturating_sub(4000))..].to_owned()
    };
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{}\n{out}\n{err}", output.status);
    assert!(out.contains("test result: ok. 1 passed"), "{out}\n{err}");
}

/// The cap is there: without it these tests would prove nothing.
fn assert_capped() {
    assert!(Vec::<u8>::new().try_reserve_exact(256 << 20).is_err(), "memory is not capped");
}

/// The inputs that the parent noted, by name.
fn inputs() -> Vec<(String, PathBuf)> {
    let dir = PathBuf::from(std::env::var_os(INPUTS).expect("run by the other tests only"));
    let mut inputs = Vec::new();
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "input") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            inputs.push((name.clone(), dir.join(name).join(fs::read_to_string(path).unwrap())));
        }
    }
    inputs.sort();
    assert!(inputs.len() > 5, "{} inputs", inputs.len());
    inputs
}

/// Opens and reads a little everywhere; what is refused must say why.
fn open_and_look(name: &str, input: &Path) {
    let start = Instant::now();
    let folder = input.parent().unwrap();
    match open_in(folder, &[input.to_owned()]) {
        Ok(opened) => look(&opened),
        Err(error) => {
            let message = chain(&error);
            let file = folder.to_str().unwrap();
            assert!(message.contains(file), "{name}: names no file: {message}");
            assert!(message.len() < 4000, "{name}: {} bytes of message", message.len());
        }
    }
    let took = start.elapsed();
    assert!(took < SLOWEST, "{name}: took {took:?}");
}

fn look(opened: &Opened) {
    let memory = &opened.checkpoint.memory;
    let segments = memory.segments();
    let step = segments.len() / 16 + 1;
    for segment in segments.iter().step_by(step) {
        let mut page = [0; 4096];
        let middle = segment.start().0 + segment.len_bytes() / 2;
        for at in [segment.start().0, middle, segment.end().0.saturating_sub(4096)] {
            let _ = memory.read_or_zero(Gpa(at), &mut page);
        }
    }
    read_in_order(memory);
    let Some(inventory) = &opened.inventory else { return };
    for item in inventory.items.iter().filter(|item| item.size_in_file < 1 << 20).take(200) {
        let _ = inventory.copy_to(item, &mut Vec::new());
    }
}

/// What a conversion does, for the first megabytes.
fn read_in_order(memory: &PhysicalMemory) {
    let mut left: u64 = 8 << 20;
    for segment in memory.segments() {
        let end = segment.start().0 + segment.len_bytes().min(left);
        let mut page = [0; 4096];
        for at in (segment.start().0..end).step_by(4096) {
            let _ = memory.read_or_zero(Gpa(at), &mut page);
        }
        left -= end - segment.start().0;
    }
}

#[test]
#[ignore = "run by every_vector_stays_within_memory_and_time"]
fn child_opens_each() {
    assert_capped();
    for (name, input) in inputs() {
        println!("{name}");
        open_and_look(&name, &input);
    }
}

#[test]
#[ignore = "run by mutations_of_every_shape_stay_within_memory_and_time"]
fn child_mutates_each() {
    assert_capped();
    for (number, (name, input)) in (1..).zip(inputs()) {
        let original = fs::read(&input).unwrap();
        for round in 0..MUTANTS_EACH {
            println!("{name} {round}");
            let mut bytes = original.clone();
            mutate(&mut bytes, &mut Random::new(number << 32 | round));
            fs::write(&input, &bytes).unwrap();
            open_and_look(&name, &input);
        }
    }
}

//! Files of the guest, as gdb 13 and gdb 16 ask for them, and processes that are
//! attached and let go of.

use std::sync::atomic::Ordering;

use super::*;
use crate::reply::hex;

fn open(path: &str) -> String {
    format!("vFile:open:{},0,1c0", hex(path.as_bytes()))
}

/// The answers to a client who looks at process 7.
fn of_process(sent: &[&str]) -> Vec<String> {
    let before = [GDB, "!", "vAttach;7"];
    let mut said = answers(&[&before[..], sent].concat());
    said.split_off(before.len())
}

#[test]
fn gdb_reads_the_program_of_a_process() {
    let (toy, link) = (open("/bin/toy"), hex(b"/proc/7/exe"));
    let said = of_process(&[
        "vFile:setfs:7",
        &toy,
        "vFile:fstat:0",
        "vFile:pread:0,4,10",
        "vFile:pread:0,4,22",
        "vFile:close:0",
        "vFile:close:0",
        &format!("vFile:readlink:{link}"),
    ]);
    assert_eq!(said[..2], ["F0", "F0"]);
    // 64 bytes: a regular file of 4096.
    assert!(said[2].starts_with("F40;\0\0\0\0\0\0\0\0\0\0\u{fffd}}\u{4}"), "{:?}", said[2]);
    assert!(said[2].contains("\0\0\u{10}\0\0\0\0\0\0\0\u{10}\0"), "{:?}", said[2]);
    // `#` and `$` are escaped and count as one.
    assert_eq!(said[3], "F4;\u{10}\u{11}\u{12}\u{13}");
    assert_eq!(said[4], "F4;\"}\u{3}}\u{4}%");
    assert_eq!(said[5..7], ["F0", "F-1,9"]);
    assert_eq!(said[7], "F9;/bin/toy}\u{3}");
}

#[test]
fn bytes_that_are_not_in_memory_are_an_error_and_never_zero() {
    let toy = open("/bin/toy");
    let said = of_process(&[&toy, "vFile:pread:0,10,7ff", "vFile:pread:0,10,800"]);
    assert_eq!(said[1..], ["F1;\u{fffd}", "F-1,5"]);
    // After the end there is nothing, and that is no error.
    assert_eq!(of_process(&[&toy, "vFile:pread:0,10,1000"])[1], "F0;");
}

#[test]
fn paths_mean_the_process_that_was_chosen_or_is_looked_at() {
    let toy = open("/bin/toy");
    assert_eq!(of_process(&[&toy])[0], "F0");
    assert_eq!(of_process(&["vFile:setfs:8", &toy])[1], "F-1,2");
    assert_eq!(of_process(&["vFile:setfs:0", &toy])[1], "F0");
    // Before anything is attached, and of a kernel, whose files gdb has itself.
    assert_eq!(last(&[GDB, "D", "vFile:setfs:0", &toy]), "F-1,2");
    assert_eq!(last(&[GDB, &toy]), "");
}

#[test]
fn nothing_is_written_and_odd_paths_are_refused() {
    let path = hex(b"/bin/toy");
    for flags in ["1", "2", "8", "200", "400", "601"] {
        assert_eq!(of_process(&[&format!("vFile:open:{path},{flags},1b6")])[0], "F-1,1e");
    }
    assert_eq!(of_process(&["vFile:pwrite:0,0,x", "vFile:unlink:2f"]), ["F-1,1e", "F-1,1e"]);
    assert_eq!(of_process(&[&open("/bin/toy\0x")])[0], "F-1,16");
    assert_eq!(of_process(&[&open(&"a".repeat(5000))])[0], "F-1,5b");
}

#[test]
fn open_files_are_limited_and_numbers_are_used_again() {
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(toy.clone(), toy.clone());
    reply(&mut session, b"vAttach;7");
    reply(&mut session, b"vFile:setfs:7");
    let packet = open("/bin/toy");
    let mut open =
        || String::from_utf8_lossy(reply(&mut session, packet.as_bytes()).payload()).into_owned();
    for number in 0..1024 {
        assert_eq!(open(), format!("F{number:x}"));
    }
    assert_eq!(open(), "F-1,18");
    assert_eq!(reply(&mut session, b"vFile:close:1f").payload(), b"F0");
    assert_eq!(reply(&mut session, packet.as_bytes()).payload(), b"F1f");
}

#[test]
fn to_let_go_of_one_process_leaves_the_others() {
    for leave in ["D;7", "vKill;7"] {
        let said = answers(&[GDB, "!", "vAttach;7", leave, "qC", "Tp1.1", leave]);
        // What was selected is so no longer.
        assert_eq!(said[3..], ["OK", "QCp1.1", "OK", "E16"], "{leave}");
    }
    let said = answers(&[GDB, "!", "vAttach;7", "D;7", "vAttach;7", "Hgp1.2", "D;7", "qC"]);
    assert_eq!(said[7], "QCp1.2");
    assert_eq!(answers(&[GDB, "!", "D", "qC", "vAttach;7", "qC"])[5], "QCp7.1");
}

#[test]
fn why_something_was_refused_can_be_asked_for() {
    let ask = format!("qRcmd,{}", hex(b"problems"));
    let said = last(&[GDB, "!", "vAttach;8", &ask]);
    let said = String::from_utf8(crate::parse::bytes(said.as_bytes()).unwrap()).unwrap();
    assert_eq!(said, "thread 9 is not listed\nrefused: no such process\n");
}

#[test]
fn an_object_is_made_once_however_many_parts_it_is_read_in() {
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(toy.clone(), toy.clone());
    let mut text = String::new();
    for at in 0.. {
        let part = reply(&mut session, format!("qXfer:osdata:read:processes:{at:x},1").as_bytes());
        text.push_str(&String::from_utf8_lossy(&part.payload()[1..]));
        if part.payload()[0] == b'l' {
            break;
        }
    }
    assert_eq!(text, "<?xml version=\"1.0\"?>\n<osdata type=\"processes\">\n</osdata>\n");
    assert_eq!(toy.tables_made.load(Ordering::Relaxed), 1);
    // Another is another, and so is what is read anew.
    for (packet, made) in [("other:0,1", 2), ("processes:1,1", 3), ("processes:0,1", 4)] {
        reply(&mut session, format!("qXfer:osdata:read:{packet}").as_bytes());
        assert_eq!(toy.tables_made.load(Ordering::Relaxed), made);
    }
}

/// The toy's memory has at each address the low byte of it.
#[test]
fn thread_local_variables_are_found_by_what_gdb_says_of_symbols() {
    let name = |name: &str| hex(format!("_thread_db_{name}").as_bytes());
    let names = ["link_map_l_tls_modid", "pthread_dtvp", "dtv_dtv", "dtv_t_pointer_val"].map(name);
    let mut sent = vec!["qSymbol::".to_owned()];
    sent.extend(names.iter().map(|name| format!("qSymbol::{name}")));
    sent.push("qSymbol::".to_owned());
    sent.extend(names.iter().map(|name| format!("qSymbol:9000:{name}")));
    sent.extend(
        ["qSymbol::", "qGetTLSAddr:p7.1,8,1000", "qGetTLSAddr:p7.9,8,1000"].map(str::to_owned),
    );
    let said = of_process(&sent.iter().map(String::as_str).collect::<Vec<_>>());
    let asked = names.each_ref().map(|name| format!("qSymbol:{name}"));
    // What gdb does not know is asked for again with the next library.
    for round in [0, 5] {
        assert_eq!(said[round..round + 4], asked);
        assert_eq!(said[round + 4], "OK");
    }
    // The constants are nowhere, so nothing is known of the variable.
    assert_eq!(said[10..], ["OK", "E02", "E16"]);
    assert_eq!(last(&[GDB, "qSymbol::"]), "OK");
}

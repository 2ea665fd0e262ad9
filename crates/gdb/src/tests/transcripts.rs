//! Packets of gdb 13, gdb 16 and lldb 19 in their order, as `set debug remote 1` and
//! `log enable gdb-remote packets` show it.

use super::*;

#[test]
fn gdb_13_gets_to_its_first_prompt() {
    let said = answers(&[
        GDB,
        "vMustReplyEmpty",
        "QStartNoAckMode",
        "Hgp0.0",
        "qTStatus",
        "?",
        "qXfer:threads:read::0,1000",
        "qAttached:1",
        "qXfer:exec-file:read:1:0,1000",
        "Hc-1",
        "qOffsets",
        "qXfer:libraries:read::0,1000",
        "qSymbol::",
        "D;1",
    ]);
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let features = said[0];
    for feature in ["PacketSize=10000", "QStartNoAckMode+", "multiprocess+", "binary-upload+"] {
        assert!(features.split(';').any(|one| one == feature), "{features}");
    }
    assert_eq!(&said[1..5], ["", "OK", "OK", ""]);
    assert!(said[5].starts_with("T05thread:p1.1;"), "{}", said[5]);
    assert!(said[5].contains("10:00000081ffffffff;"), "{}", said[5]);
    assert_eq!(
        said[6],
        "l<?xml version=\"1.0\"?>\n<threads>\n\
         <thread id=\"p1.1\" core=\"0\" name=\"vCPU 0&quot;&lt;\">halted</thread>\n\
         <thread id=\"p1.2\" core=\"1\" name=\"vCPU 1&quot;&lt;\">halted</thread>\n</threads>\n"
    );
    assert_eq!(&said[7..11], ["1", "E00", "OK", "TextSeg=ffffffffa0000000"]);
    assert_eq!(
        said[11],
        "l<library-list>\n<library name=\"a&amp;b.ko\">\n\
         <section address=\"0xffffffffc0000000\"/>\n</library>\n</library-list>\n"
    );
    assert_eq!(&said[12..], ["OK", "OK"]);
}

#[test]
fn objects_are_read_in_parts() {
    let whole = last(&["qXfer:features:read:target.xml:0,7000"]);
    let mut joined = String::new();
    loop {
        let part = last(&[&format!("qXfer:features:read:target.xml:{:x},3e8", joined.len())]);
        joined.push_str(&part[1..]);
        if part.starts_with('l') {
            break;
        }
    }
    assert_eq!(whole, format!("l{joined}"));
    // One session, another object in between.
    let parts = answers(&[
        "qXfer:features:read:target.xml:0,3e8",
        "qXfer:features:read:target.xml:3e8,3e8",
        "qXfer:threads:read::0,7000",
        "qXfer:features:read:target.xml:7d0,3e8",
    ]);
    let joined_here = format!("{}{}{}", &parts[0][1..], &parts[1][1..], &parts[3][1..]);
    assert!(joined.starts_with(&joined_here));
    assert!(joined.ends_with("</target>\n"));
    assert_eq!(last(&["qXfer:features:read:target.xml:fffff,10"]), "l");
    assert_eq!(last(&["qXfer:features:read:other.xml:0,10"]), "E00");
}

#[test]
fn registers_come_whole_or_one_by_one_and_unknown_ones_as_x() {
    let all = last(&[GDB, "Hgp1.2", "g"]);
    assert!(all.starts_with("0200000000000000xxxxxxxxxxxxxxxx"), "{all}");
    assert_eq!(last(&[GDB, "Hgp1.2", "p0"]), "0200000000000000");
    assert_eq!(last(&["p10"]), "00000081ffffffff");
    assert_eq!(last(&["p1"]), "xxxxxxxxxxxxxxxx");
    assert_eq!(last(&["pffff"]), "E16");
}

#[test]
fn any_thread_leaves_the_choice_as_it_is() {
    assert_eq!(last(&[GDB, "Hgp1.2", "Hgp0.0", "p0"]), "0200000000000000");
    // gdb 16, reading memory from Python.
    assert_eq!(last(&[GDB, "Hgp1.2", "Hgp1.0", "p0"]), "0200000000000000");
    assert_eq!(last(&[GDB, "Hgp1.9"]), "E16");
    assert_eq!(answers(&[GDB, "Tp1.2", "Tp1.3", "Tp2.1"])[1..], ["OK", "E16", "E16"]);
}

#[test]
fn memory_ends_where_it_ends() {
    assert_eq!(last(&["m1000,4"]), "00010203");
    assert_eq!(last(&["m1ffe,8"]), "feff");
    assert_eq!(last(&["m2000,1"]), "E0e");
    assert_eq!(last(&["mffffffffffffffff,ffffffffffffffff"]), "E0e");
    assert_eq!(last(&["x1041,2"]), "bAB");
    // `#`, `$` and `}` are escaped.
    assert_eq!(last(&["x1023,2"]), "b}\u{3}}\u{4}");
    assert_eq!(last(&["qqemu.PhyMemMode"]), "0");
    let said = answers(&["Qqemu.PhyMemMode:1", "qqemu.PhyMemMode", "m1ffe,8", "m0,1"]);
    assert_eq!(said, ["OK", "1", "feff", "E0e"]);
}

#[test]
fn lldb_19_gets_to_its_first_prompt() {
    let said = answers(&[
        "QStartNoAckMode",
        LLDB,
        "QThreadSuffixSupported",
        "QListThreadsInStopReply",
        "qHostInfo",
        "vCont?",
        "qProcessInfo",
        "qC",
        "qfThreadInfo",
        "qsThreadInfo",
        "?",
        "qOffsets",
        "x0,0",
        "p10;thread:0001;",
        "qMemoryRegionInfo:1000",
        "qThreadStopInfop1.2",
        "p1;thread:0001;",
    ]);
    let said: Vec<&str> = said.iter().map(String::as_str).collect();
    let triple = "triple:7838365f36342d756e6b6e6f776e2d6c696e75782d676e75;ostype:linux;";
    assert_eq!(said[4], format!("{triple}ptrsize:8;endian:little;"));
    assert_eq!(said[6], format!("pid:1;{triple}ptrsize:8;endian:little;"));
    assert_eq!(&said[7..10], ["QCp1.1", "mp1.1,p1.2", "l"]);
    assert_eq!(said[11], "Text=1f000000;Data=1f000000;Bss=1f000000");
    assert_eq!(&said[12..14], ["OK", "00000081ffffffff"]);
    assert_eq!(said[14], "start:1000;size:1000;permissions:rwx;");
    assert!(said[15].starts_with("T00thread:p1.2;hexname:"), "{}", said[15]);
    assert_eq!(said[16], "E16");
}

#[test]
fn a_checkpoint_cannot_run_and_says_so_to_each_client_in_its_way() {
    let refusal = last(&[GDB, "vCont;c"]);
    assert_eq!(refusal, "E.this is a checkpoint: it cannot run, step or be called into");
    assert!(last(&[GDB, "Mff,1:00"]).starts_with("E."));
    assert_eq!(last(&[GDB, "Z0,1000,1"]), "");
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(toy.clone(), toy.clone());
    reply(&mut session, b"QThreadSuffixSupported");
    let reply = reply(&mut session, b"vCont;c");
    assert!(reply.payload().starts_with(b"T05thread:1;"));
    let console = session.take_console();
    assert!(console.iter().all(|line| line.starts_with(b"O746869732069732061")));
    assert_eq!(console.len(), 1);
}

#[test]
fn processes_are_attached_and_let_go_of() {
    let said = answers(&[GDB, "!", "vAttach;7", "qC", "Hgp1.1", "qC", "vAttach;8", "D;7", "Tp7.1"]);
    assert!(said[2].starts_with("T05thread:p7.1;"));
    assert_eq!(said[3..], ["QCp7.1", "OK", "QCp1.1", "E.no such process", "OK", "E16"]);
}

#[test]
fn monitor_commands_come_and_go_in_hexadecimal() {
    let ask = |line: &str| {
        let said = last(&[GDB, &format!("qRcmd,{}", crate::reply::hex(line.as_bytes()))]);
        String::from_utf8(crate::parse::bytes(said.as_bytes()).unwrap_or_default()).unwrap()
    };
    assert!(ask("help").contains("echo WORD"));
    assert!(ask("help phys").starts_with("monitor phys [on|off]\n"));
    assert_eq!(ask("echo hello"), "hello");
    assert!(ask("regs").starts_with("rax          0x1\n"));
    assert!(ask("nonsense").starts_with("no monitor command is called nonsense"));
    assert_eq!(last(&[GDB, "qRcmd,6563686f"]), "OK");
}

#[test]
fn acknowledgements_end_when_both_agree() {
    let said = converse(b"$qC#b4+$QStartNoAckMode#b0+$qC#b4");
    assert_eq!(String::from_utf8_lossy(&said), "+$QC1#c5+$OK#9a$QC1#c5");
    // What did not arrive is sent again; what arrived damaged is asked for again.
    assert_eq!(converse(b"$qC#b4-"), b"+$QC1#c5$QC1#c5");
    assert_eq!(converse(b"$qC#b5"), b"-");
}

//! Packets that no debugger sends.

use super::*;

const CUT: [&str; 72] = [
    "",
    "g",
    "p",
    "p;",
    "pxyz",
    "m",
    "m,",
    "m1",
    "m1,",
    "m,1",
    "mg,1",
    "m1,1,1",
    "x",
    "x,",
    "m10000000000000000,1",
    "m-1,1",
    "H",
    "Hg",
    "Hgp",
    "Hgp.",
    "Hgp1.",
    "Hg-2",
    "Hc",
    "T",
    "Tp",
    "vCont",
    "vCont;",
    "vAttach",
    "vAttach;",
    "vAttach;-1",
    "vAttach;100000007",
    "D;",
    "D;x",
    "qXfer:features:read:",
    "qXfer:features:read:target.xml",
    "qXfer:features:read:target.xml:",
    "qXfer:features:read:target.xml:0",
    "qXfer:features:read:target.xml:0,",
    "qRcmd",
    "qRcmd,",
    "qRcmd,7",
    "qRcmd,zz",
    "qRcmd,ff",
    "qMemoryRegionInfo:",
    "qThreadStopInfo",
    "Qqemu.PhyMemMode:",
    "vKill",
    "vKill;",
    "vKill;x",
    "vFile:",
    "vFile:setfs:",
    "vFile:setfs:100000007",
    "vFile:open:",
    "vFile:open:2f",
    "vFile:open:2f,0",
    "vFile:open:2,0,0",
    "vFile:open:ff,0,0",
    "vFile:open:00,0,0",
    "vFile:pread:",
    "vFile:pread:0",
    "vFile:pread:0,1",
    "vFile:pread:x,1,1",
    "vFile:close:",
    "vFile:close:ffffffffffffffff",
    "vFile:fstat:-1",
    "vFile:readlink:2",
    "qSymbol",
    "qSymbol:",
    "qSymbol:zz:zz",
    "qGetTLSAddr:",
    "qGetTLSAddr:1,2",
    "qGetTLSAddr:1,2,zz",
];

#[test]
fn every_packet_that_is_cut_off_is_answered() {
    for packet in CUT {
        let said = answers(&[GDB, packet, "qC", "vAttach;7", packet, "qC"]);
        assert!(said[5].starts_with("QC") || packet.starts_with('D'), "{packet}: {said:?}");
        assert!(said[2].starts_with("QC"), "{packet}: {said:?}");
    }
}

#[test]
fn numbers_at_the_edge_take_neither_time_nor_memory() {
    let edges =
        ["0", "1", "7fffffffffffffff", "8000000000000000", "fffffffffffff000", "ffffffffffffffff"];
    for first in edges {
        for second in edges {
            for packet in [
                format!("m{first},{second}"),
                format!("x{first},{second}"),
                format!("qXfer:features:read:target.xml:{first},{second}"),
                format!("qXfer:threads:read::{first},{second}"),
                format!("qMemoryRegionInfo:{first}"),
                format!("p{first};thread:{second};"),
                format!("Hgp{first}.{second}"),
                format!("vAttach;{first}"),
                format!("vFile:pread:0,{first},{second}"),
                format!("vFile:pread:{first},{second},0"),
                format!("vFile:setfs:{first}"),
                format!("vFile:open:2f62696e2f746f79,{first},{second}"),
                format!("qXfer:osdata:read:processes:{first},{second}"),
            ] {
                let said = answers(&[
                    "Qqemu.PhyMemMode:0",
                    &packet,
                    "Qqemu.PhyMemMode:1",
                    "vAttach;7",
                    &packet,
                ]);
                assert!(said.iter().all(|said| said.len() <= crate::packet::PACKET_BYTES));
            }
        }
    }
}

#[test]
fn what_is_not_of_the_protocol_is_passed_over() {
    for junk in
        ["GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "$$$$", "$#", "$#00", "#00", "\0\x03\x03"]
    {
        let mut sent = junk.as_bytes().to_vec();
        sent.extend(encode(b"qC"));
        let said = converse(&sent);
        assert!(said.ends_with(b"$QC1#c5"), "{junk:?}: {:?}", String::from_utf8_lossy(&said));
    }
}

#[test]
fn seeds_of_fuzzing_are_what_debuggers_send() {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/packets");
    let mut count = 0;
    for file in std::fs::read_dir(&dir).unwrap() {
        packets(&std::fs::read(file.unwrap().path()).unwrap());
        count += 1;
    }
    assert!(count >= 3, "{} has {count} files", dir.display());
}

/// Every packet that is known, with each of its bytes changed, and cut off at each.
#[test]
fn mutations_of_every_packet_are_answered() {
    let known = [
        GDB,
        LLDB,
        "Hgp1.2",
        "m1000,4",
        "x1000,4",
        "p10;thread:0001;",
        "vAttach;7",
        "D;7",
        "qXfer:features:read:target.xml:0,1000",
        "qXfer:libraries:read::0,1000",
        "qThreadExtraInfo,p1.1",
        "qRcmd,6563686f2061",
        "qMemoryRegionInfo:1000",
        "jThreadsInfo",
        "vCont;c:p1.-1",
        "vKill;7",
        "vFile:setfs:7",
        "vFile:open:2f62696e2f746f79,0,0",
        "vFile:pread:0,1000,10",
        "vFile:fstat:0",
        "vFile:readlink:2f70726f632f372f657865",
        "vFile:close:0",
        "qSymbol:1000:5f7468726561645f64625f6474765f647476",
        "qGetTLSAddr:p7.1,8,1000",
        "qXfer:osdata:read:processes:0,1000",
    ];
    let toy = Arc::new(Toy::default());
    for packet in known {
        let mut session = Session::new(toy.clone(), toy.clone());
        reply(&mut session, b"vAttach;7");
        for at in 0..packet.len() {
            reply(&mut session, &packet.as_bytes()[..at]);
            for byte in [0, b'0', b'-', b',', b';', b':', b'f', 0xff] {
                let mut changed = packet.as_bytes().to_vec();
                changed[at] = byte;
                reply(&mut session, &changed);
            }
        }
        assert!(reply(&mut session, b"qC").payload().len() < 32);
    }
}

//! Packets about a machine that runs, stops and is changed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use vmss2core_machine::{Stop, StopReason};

use super::machine::{JUMP, Machine, START};
use super::*;
use crate::Server;
use crate::connection;

/// Answers to packets; what lets the machine run is answered when it has stopped.
fn said(machine: &Arc<Machine>, sent: &[&str]) -> Vec<String> {
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(machine.clone(), toy);
    let one = |packet: &&str| {
        let reply = match session.handle(packet.as_bytes()) {
            Outcome::Reply(reply) => reply,
            Outcome::Running(running) => {
                assert!(session.is_running());
                assert!(matches!(session.handle(b"g"), Outcome::Running(_)), "g is answered");
                session.stopped(&running.wait().unwrap())
            }
        };
        String::from_utf8_lossy(reply.payload()).into_owned()
    };
    sent.iter().map(one).collect()
}

fn rip_of(stop: &str) -> u64 {
    let (_, digits) = stop.split_once(";10:").unwrap();
    u64::from_str_radix(&digits[..16], 16).unwrap().swap_bytes()
}

#[test]
fn what_a_target_can_do_is_what_is_there() {
    let machine = Arc::new(Machine::default());
    let can = said(&machine, &[GDB]).pop().unwrap();
    let cannot = last(&[GDB]);
    assert_eq!(can, format!("{cannot};swbreak+;hwbreak+"));
    assert!(!cannot.contains("swbreak+") && !cannot.contains("Reverse"), "{cannot}");
    // A machine without processes and files; a checkpoint without breakpoints.
    assert_eq!(said(&machine, &[GDB, "vAttach;7"])[1], "E.this server has nothing to attach to");
    for packet in ["Z0,1000,1", "z0,1000,1", "Z1,1000,1", "Z2,1000,1"] {
        assert_eq!(last(&[GDB, packet]), "", "{packet}");
    }
    assert_eq!(said(&machine, &["Z2,1000,1"]), [""]);
    for packet in ["c", "s", "C05", "S05", "bc", "bs", "vCont;c", "vCont"] {
        let refused = "E.this is a checkpoint: it cannot run, step or be called into";
        assert_eq!(last(&[GDB, packet]), refused, "{packet}");
    }
    for packet in ["M1000,1:00", "X1000,1:\0"] {
        let refused = "E.the memory of a checkpoint cannot be changed";
        assert_eq!(last(&[GDB, packet]), refused, "{packet}");
    }
    for packet in ["P0=0000000000000000", "G00"] {
        let refused = "E.the registers of a checkpoint cannot be changed";
        assert_eq!(last(&[GDB, packet]), refused, "{packet}");
    }
}

#[test]
fn gdb_steps_and_runs_to_a_breakpoint() {
    let machine = Arc::new(Machine::default());
    let said = said(
        &machine,
        &[
            GDB,
            "?",
            "vCont;s:p1.1;c:p1.-1",
            "s",
            "Z0,1008,1",
            "vCont;c:p1.-1",
            "qThreadExtraInfo,p1.1",
            "z0,1008,1",
            "Z0,2000,1",
            "Z0,zz",
        ],
    );
    assert!(said[1].starts_with("T05thread:p1.1;"), "{}", said[1]);
    assert_eq!([1, 2, 3].map(|at| rip_of(&said[at])), [START, START + 1, START + 2]);
    assert_eq!(said[4], "OK");
    assert!(said[5].starts_with("T05swbreak:;thread:p1.1;"), "{}", said[5]);
    assert_eq!(rip_of(&said[5]), 0x1008);
    // What is told is of this stop, the third.
    assert_eq!(said[6], crate::reply::hex(b"vCPU 0 (stop 3)"));
    assert_eq!(said[7..], ["OK", "E.no instruction is there", "E16"]);
    assert_eq!(machine.steps(), 8);
}

#[test]
fn an_interrupt_is_a_stop_by_sigint() {
    let machine = Arc::new(Machine::default());
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(machine.clone(), toy);
    let Outcome::Running(running) = session.handle(b"vCont;c") else { panic!("it is refused") };
    thread::scope(|scope| {
        let stop = scope.spawn(|| running.wait().unwrap());
        session.interrupt();
        let stop = stop.join().unwrap();
        assert_eq!(stop, Stop { cpu: Some(0), reason: StopReason::Interrupted });
        assert!(session.stopped(&stop).payload().starts_with(b"T02thread:1;"));
    });
    assert_eq!((machine.steps(), session.is_running()), (16, false));
    let off = session.stopped(&Stop { cpu: None, reason: StopReason::Off });
    assert_eq!((off.payload(), reply(&mut session, b"?").payload()), (&b"W00"[..], &b"W00"[..]));
}

#[test]
fn what_cannot_be_done_is_refused_and_nothing_runs() {
    let machine = Arc::new(Machine::default());
    for (packet, why) in [
        ("vCont;c:p1.1", "one alone can only step"),
        ("vCont;t", "it can only be continued or stepped"),
        ("vCont", "it can only be continued or stepped"),
        ("vCont;s:p1.9", "no processor executes this thread"),
        ("c1000", "set the program counter first"),
        ("bc", "it cannot run backwards"),
        ("bs", "it cannot run backwards"),
    ] {
        let said = said(&machine, &[GDB, packet, "Tp1.1"]);
        assert!(said[1].starts_with("E.") && said[1].contains(why), "{packet}: {}", said[1]);
        assert_eq!(said[2], "OK");
    }
    assert_eq!(machine.steps(), 0);
}

#[test]
fn memory_and_registers_are_changed_and_read_back() {
    let machine = Arc::new(Machine::default());
    let said = said(
        &machine,
        &[
            GDB,
            "M1800,3:010203",
            "X1802,2:\u{7}\u{8}",
            "m1800,5",
            "X1800,0:",
            "P0=2a00000000000000",
            "p0",
            "P10=0510000000000000",
            "s",
            "P1=0100000000000000",
            "P0=2a",
            "M1ffe,4:00000000",
            "M1800,2:00",
            "G00",
            "Qqemu.PhyMemMode:1",
            "M1801,1:ff",
            "m1801,1",
        ],
    );
    assert_eq!(said[1..5], ["OK", "OK", "0102070890", "OK"]);
    assert_eq!(said[5..8], ["OK", "2a00000000000000", "OK"]);
    assert_eq!(rip_of(&said[8]), 0x1006);
    assert_eq!(said[9..14], ["E.rbx cannot be set", "E16", "E.no memory is there", "E16", ""]);
    assert_eq!(said[14..], ["OK", "OK", "ff"]);
}

/// A client's end of a connection that is served.
fn connected(visit: impl FnOnce(&TcpStream)) -> Arc<Machine> {
    let machine = Arc::new(Machine::default());
    let toy = Arc::new(Toy::default());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    thread::scope(|scope| {
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (stream, _) = listener.accept().unwrap();
        let machine = machine.clone();
        scope.spawn(move || {
            let session = Session::new(machine, toy);
            // A client that goes without reading all of it resets the connection.
            let _ = connection::serve(session, &mut &stream, &mut &stream);
        });
        visit(&client);
        drop(client);
    });
    machine
}

fn send(mut client: &TcpStream, bytes: &[u8]) {
    client.write_all(bytes).unwrap();
}

/// The next packet, acknowledgements before it passed over.
fn next(mut client: &TcpStream) -> String {
    let mut decoder = crate::packet::Decoder::default();
    loop {
        let mut byte = [0];
        client.read_exact(&mut byte).unwrap();
        if let Some(crate::packet::Incoming::Packet(packet)) = decoder.push(byte[0]) {
            return String::from_utf8(packet).unwrap();
        }
    }
}

#[test]
fn the_server_listens_for_an_interrupt_while_the_machine_runs() {
    let machine = connected(|client| {
        send(client, &encode(b"vCont;c"));
        send(client, b"+\x03");
        assert!(next(client).starts_with("T02thread:1;"));
        // Lost on the way: it is sent again, and an interrupt means nothing now.
        send(client, b"-\x03");
        assert!(next(client).starts_with("T02thread:1;"));
        send(client, &encode(format!("Z0,{JUMP:x},1").as_bytes()));
        assert_eq!(next(client), "OK");
        send(client, &encode(b"c"));
        assert!(next(client).starts_with("T05thread:1;"));
    });
    assert_eq!(machine.steps(), 16 + 15);
}

#[test]
fn a_packet_or_the_end_of_a_client_stops_what_runs() {
    let machine = connected(|client| {
        send(client, &encode(b"c"));
        send(client, &encode(b"qC"));
        assert!(next(client).starts_with("T02thread:1;"));
        assert_eq!(next(client), "QC1");
        send(client, &encode(b"c"));
    });
    assert_eq!(machine.steps(), 32);
    // It can run again: nothing was left as it was.
    assert!(said(&machine, &["s"])[0].starts_with("T05"));
}

/// On a pipe, too.
#[test]
fn a_machine_on_a_pipe_is_stopped_at_its_end() {
    let (machine, toy) = (Arc::new(Machine::default()), Arc::new(Toy::default()));
    let mut out = Vec::new();
    let server = Server::new(machine.clone(), toy);
    server.serve(&mut &encode(b"c")[..], &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.starts_with("+$T02thread:1;"), "{out}");
    assert_eq!(machine.steps(), 16);
}

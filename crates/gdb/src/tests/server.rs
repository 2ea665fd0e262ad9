//! Clients that come all at once, say nothing, or meet a fault of ours.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crate::fuzzing::Toy;
use crate::packet::encode;
use crate::reply::hex;
use crate::target::{Monitor, MonitorCommand, Selected};
use crate::{Bind, Listening, Server};

/// As many clients as there is room for.
const FULL: usize = 64;

/// Panics when it is asked for anything.
struct Faulty;

impl Monitor for Faulty {
    fn commands(&self) -> &[MonitorCommand] {
        const FAIL: MonitorCommand = MonitorCommand {
            name: "fail",
            usage: "",
            about: "Fail",
            details: "",
            is_hidden: false,
        };
        &[FAIL]
    }

    fn run(&self, _: &str, _: &[&str], _: Selected<'_>) -> Result<String, String> {
        panic!("as the test wants it")
    }
}

/// Serves while `visit` runs, and comes to an end afterwards.
fn serving(visit: impl FnOnce(SocketAddr)) {
    let toy = Arc::new(Toy::default());
    let server = Server::new(toy, Arc::new(Faulty));
    let stop = Listening::bind(&Bind::Tcp("127.0.0.1:0".parse().unwrap())).unwrap();
    thread::scope(|scope| {
        scope.spawn(|| server.run(&stop));
        // Also if it fails, so that the scope ends.
        let visited = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            visit(stop.address().unwrap());
        }));
        stop.stop();
        visited.unwrap();
    });
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
    stream
}

fn send(mut stream: &TcpStream, packet: &str) {
    stream.write_all(&encode(packet.as_bytes())).unwrap();
}

/// Everything until the server ends the connection.
fn rest(mut stream: TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).unwrap();
    bytes
}

#[track_caller]
fn answers(stream: &TcpStream) {
    send(stream, "?");
    let mut reader = stream;
    let mut answer = Vec::new();
    while answer.iter().rev().nth(2) != Some(&b'#') {
        let mut byte = [0];
        reader.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    assert!(answer.starts_with(b"+$"), "{answer:?}");
}

#[test]
fn a_fault_of_ours_ends_one_session_and_frees_its_place() {
    serving(|address| {
        let other = connect(address);
        answers(&other);
        for _ in 0..FULL + 2 {
            let stream = connect(address);
            send(&stream, &format!("qRcmd,{}", hex(b"fail")));
            assert_eq!(rest(stream), b"", "an answer of a session that has ended");
        }
        answers(&other);
        answers(&connect(address));
    });
}

#[test]
fn a_fault_of_ours_is_an_error_of_the_one_client_on_a_pipe() {
    let toy = Arc::new(Toy::default());
    let packet = encode(format!("qRcmd,{}", hex(b"fail")).as_bytes());
    let ended = Server::new(toy, Arc::new(Faulty)).serve(&mut packet.as_slice(), &mut Vec::new());
    assert!(ended.is_err());
}

#[test]
fn clients_that_say_nothing_do_not_keep_others_out() {
    serving(|address| {
        let silent: Vec<TcpStream> = (0..FULL + 8).map(|_| connect(address)).collect();
        let talking: Vec<TcpStream> = (0..8).map(|_| connect(address)).collect();
        talking.iter().for_each(answers);
        // Those that talk stay, whoever comes.
        let more: Vec<TcpStream> = (0..FULL).map(|_| connect(address)).collect();
        let last = connect(address);
        answers(&last);
        talking.iter().for_each(answers);
        drop((silent, more));
    });
}

#[cfg(unix)]
#[test]
fn a_socket_is_for_its_owner_from_the_first_moment() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("socket");
    let stop = Listening::bind(&Bind::Unix(path.clone())).unwrap();
    let mode = std::fs::metadata(&path).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    drop(stop);
    assert!(!path.exists());
}

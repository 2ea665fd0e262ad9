//! Clients of the server that are no debuggers.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use super::recorded::Session;
use crate::vmware::Random;

/// How long an answer may take on a machine that does much else. The server answers
/// in milliseconds.
const PATIENCE: Duration = Duration::from_mins(2);

/// Most packets of one connection.
const MOST_PACKETS: usize = 120;

/// As many clients as the server takes.
const FULL: usize = 64;

/// What debuggers send; bytes of these are changed.
const SOUND: [&str; 62] = [
    "qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;xmlRegisters=i386",
    "qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+",
    "QStartNoAckMode",
    "!",
    "?",
    "Hg0",
    "Hgp1.1",
    "Hc-1",
    "g",
    "p10",
    "p10;thread:1;",
    "G00",
    "P0=00",
    "mffffffff81000000,40",
    "m0,1",
    "mffffffffffffffff,10",
    "M0,1:00",
    "X0,1:a",
    "qC",
    "qfThreadInfo",
    "qsThreadInfo",
    "qThreadExtraInfo,1",
    "qOffsets",
    "qTStatus",
    "qAttached:1",
    "qSymbol::",
    "qSymbol:ffffffff81000000:6c696e75785f62616e6e6572",
    "qHostInfo",
    "qProcessInfo",
    "qProcessInfoPID:1",
    "qRegisterInfo0",
    "qRegisterInfo7f",
    "qMemoryRegionInfo:ffffffff81000000",
    "qMemoryRegionInfo:0",
    "qGetTLSAddr:1,0,0",
    "qXfer:features:read:target.xml:0,ffb",
    "qXfer:threads:read::0,ffb",
    "qXfer:auxv:read::0,ffb",
    "qXfer:exec-file:read::0,ffb",
    "qXfer:libraries:read::0,ffb",
    "qXfer:libraries-svr4:read::0,ffb",
    "qXfer:memory-map:read::0,ffb",
    "qXfer:osdata:read::0,ffb",
    "qXfer:osdata:read:processes:0,ffb",
    "qXfer:osdata:read:threads:0,ffb",
    "qRcmd,68656c70",
    "qRcmd,7073",
    "qRcmd,6274",
    "qRcmd,6274203120",
    "qRcmd,76746f702066666666",
    "qRcmd,72656773",
    "qRcmd,6c696e75786f666673657473203130",
    "vAttach;1",
    "vRun;",
    "vCont?",
    "vCont;c",
    "vFile:setfs:0",
    "vFile:open:2f62696e2f62757379626f78,0,0",
    "vFile:pread:0,1000,0",
    "vFile:fstat:0",
    "vFile:readlink:2f70726f632f312f657865",
    "vFile:close:0",
];

/// What numbers are replaced by.
const NUMBERS: [&str; 10] = [
    "0",
    "-1",
    "1",
    "7fffffff",
    "ffffffff",
    "7fffffffffffffff",
    "ffffffffffffffff",
    "10000000000000000",
    "",
    "zz",
];

/// A packet as it goes over the wire.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let sum = payload.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    [b"$", payload, format!("#{sum:02x}").as_bytes()].concat()
}

/// One connection full of what `seed` says, and of what debuggers said in `sessions`;
/// returns how many packets it had. Whatever they were, a client that comes next is
/// answered.
pub fn attack(socket: &Path, sessions: &[Session], seed: u64) -> Result<usize> {
    let mut random = Random::new(seed);
    let mut stream = connect(socket)?;
    let packets = packets(&mut random, sessions);
    let count = packets.len();
    for packet in packets {
        // A server that has hung up is not to blame.
        if stream.write_all(&packet).is_err() {
            break;
        }
        if random.below(4) == 0 && !drain(&mut stream)? {
            break;
        }
    }
    // Those that never read their answers are clients, too.
    if random.below(8) != 0 {
        finish(&mut stream).with_context(|| format!("seed {seed}"))?;
    }
    drop(stream);
    probe(socket).with_context(|| format!("after seed {seed}"))?;
    Ok(count)
}

/// A client that asks one question and must be answered.
pub fn probe(socket: &Path) -> Result<()> {
    let mut stream = connect(socket)?;
    ask(&mut stream)
}

/// Every place is free, as soon as the server has noticed who left: as many clients as
/// there may be come at once, and each is answered.
pub fn fill(socket: &Path) -> Result<()> {
    const TRIES: usize = 100;
    for _ in 1..TRIES {
        if all_are_answered(socket).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(100));
    }
    all_are_answered(socket)
}

fn all_are_answered(socket: &Path) -> Result<()> {
    let clients: Result<Vec<UnixStream>> = (0..FULL).map(|_| connect(socket)).collect();
    clients?.iter_mut().enumerate().try_for_each(|(number, client)| {
        ask(client).with_context(|| format!("client {number} of {FULL}"))
    })
}

/// A crowd that takes places and says nothing whole: half packets, or nothing at all. They
/// leave when this goes.
#[derive(Default)]
pub struct Crowd(VecDeque<UnixStream>);

impl Crowd {
    /// More than the server takes.
    const MOST: usize = FULL + 8;

    /// One more comes; the first goes if there are too many.
    pub fn grow(&mut self, socket: &Path, seed: u64) -> Result<()> {
        let mut random = Random::new(seed);
        let mut stream = connect(socket)?;
        let mut sound = odd(&mut random);
        sound.retain(|byte| *byte != b'#');
        sound.truncate(random.below(sound.len() + 1));
        // It may be the one that goes for another.
        let _ = stream.write_all(&sound);
        self.0.push_back(stream);
        if self.0.len() > Self::MOST {
            self.0.pop_front();
        }
        Ok(())
    }
}

/// What the server answers to a few questions about the guest, which no other client
/// changes.
pub fn answers(socket: &Path) -> Result<Vec<u8>> {
    const QUESTIONS: [&str; 7] = [
        "QStartNoAckMode",
        "?",
        "g",
        "qXfer:threads:read::0,ffb",
        "qXfer:osdata:read:processes:0,ffb",
        "qRcmd,6b61736c72",
        "qRcmd,6274",
    ];
    let mut stream = connect(socket)?;
    for question in QUESTIONS {
        stream.write_all(&frame(question.as_bytes()))?;
    }
    stream.shutdown(std::net::Shutdown::Write)?;
    let mut answers = Vec::new();
    stream.read_to_end(&mut answers)?;
    Ok(answers)
}

fn connect(socket: &Path) -> Result<UnixStream> {
    let stream = UnixStream::connect(socket).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    Ok(stream)
}

fn ask(stream: &mut UnixStream) -> Result<()> {
    stream.write_all(&frame(b"?"))?;
    let mut bytes = [0; 4];
    stream.read_exact(&mut bytes).context("no answer")?;
    ensure!(bytes.starts_with(b"+$"), "an odd answer: {bytes:?}");
    Ok(())
}

/// Reads what has come already; `false` if the server has hung up.
fn drain(stream: &mut UnixStream) -> Result<bool> {
    stream.set_read_timeout(Some(Duration::from_millis(1)))?;
    let mut bytes = vec![0; 1 << 16];
    let goes_on = loop {
        match stream.read(&mut bytes) {
            Ok(0) => break false,
            Ok(_) => {}
            Err(error) => {
                break matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut);
            }
        }
    };
    stream.set_read_timeout(Some(PATIENCE))?;
    Ok(goes_on)
}

/// Ends whatever packet is open, says good-bye, and waits for the server to hang up.
fn finish(stream: &mut UnixStream) -> Result<()> {
    for part in [b"#00".to_vec(), frame(b"D"), frame(b"k")] {
        if stream.write_all(&part).is_err() {
            return Ok(());
        }
    }
    stream.shutdown(std::net::Shutdown::Write).ok();
    let mut bytes = vec![0; 1 << 16];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => bail!("the server does not hang up: {error}"),
        }
    }
}

/// What is sent: the beginning of a real session, here and there changed; or anything.
fn packets(random: &mut Random, sessions: &[Session]) -> Vec<Vec<u8>> {
    let count = random.below(MOST_PACKETS) + 1;
    let session = match random.below(3) {
        0 => None,
        _ => sessions.get(random.below(sessions.len().max(1))),
    };
    let Some(session) = session else { return (0..count).map(|_| odd(random)).collect() };
    // So that its end is as likely as its beginning.
    let known = session.iter().take(random.below(session.len()) + count);
    known.flat_map(|payload| replayed(random, payload)).collect()
}

/// A packet of a session: seldom left out, changed, or after another.
fn replayed(random: &mut Random, payload: &[u8]) -> Vec<Vec<u8>> {
    match random.below(16) {
        0 => Vec::new(),
        1 => vec![odd(random), frame(payload)],
        2 | 3 => vec![damaged(random, payload.to_vec())],
        _ => vec![frame(payload)],
    }
}

fn odd(random: &mut Random) -> Vec<u8> {
    let sound = SOUND.get(random.below(SOUND.len())).copied().unwrap_or("?");
    damaged(random, sound.as_bytes().to_vec())
}

fn damaged(random: &mut Random, mut payload: Vec<u8>) -> Vec<u8> {
    for _ in 0..random.below(4) {
        change(random, &mut payload);
    }
    match random.below(24) {
        // Neither framed nor whole.
        0 => payload,
        1 => [b"$", payload.as_slice()].concat(),
        2 => [b"$", payload.as_slice(), b"#00"].concat(),
        3 => b"-".repeat(random.below(300)),
        4 => vec![3; random.below(4) + 1],
        5 => (0..random.below(3000)).map(|_| byte(random)).collect(),
        _ => frame(&payload),
    }
}

fn byte(random: &mut Random) -> u8 {
    u8::try_from(random.below(256)).unwrap_or_default()
}

fn change(random: &mut Random, payload: &mut Vec<u8>) {
    let at = random.below(payload.len().max(1)).min(payload.len());
    match random.below(7) {
        0 => payload.truncate(at),
        1 => payload.insert(at, byte(random)),
        2 => {
            let special = b"}*;:,#$".iter().copied().take(random.below(8));
            payload.splice(at..at, special).for_each(drop);
        }
        3 => payload.extend(b"0".repeat(random.below(20_000))),
        4 => payload.extend_from_within(at..),
        5 => {
            if let Some(old) = payload.get_mut(at) {
                *old = byte(random);
            }
        }
        _ => {
            let end = payload.iter().skip(at).take_while(|byte| byte.is_ascii_hexdigit()).count();
            let number = NUMBERS.get(random.below(NUMBERS.len())).copied().unwrap_or_default();
            payload.splice(at..at + end, number.bytes()).for_each(drop);
        }
    }
}

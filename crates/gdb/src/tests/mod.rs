//! Packets of real debuggers, and of none.

use std::sync::Arc;

use crate::fuzzing::{Toy, converse, packets};
use crate::packet::encode;
use crate::reply::Reply;
use crate::session::{Outcome, Session};

mod files;
mod machine;
mod malformed;
mod running;
mod server;
mod transcripts;

/// The answer to a packet that lets nothing run.
fn reply(session: &mut Session, packet: &[u8]) -> Reply {
    match session.handle(packet) {
        Outcome::Reply(reply) => reply,
        Outcome::Running(_) => panic!("{} runs", String::from_utf8_lossy(packet)),
    }
}

/// The answers to packets, one session long.
fn answers(sent: &[&str]) -> Vec<String> {
    let toy = Arc::new(Toy::default());
    let mut session = Session::new(toy.clone(), toy.clone());
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    sent.iter().map(|packet| text(reply(&mut session, packet.as_bytes()).payload())).collect()
}

/// The last answer.
fn last(sent: &[&str]) -> String {
    answers(sent).pop().unwrap_or_default()
}

const GDB: &str = "qSupported:multiprocess+;swbreak+;hwbreak+;qRelocInsn+;fork-events+;\
                   vfork-events+;exec-events+;vContSupported+;QThreadEvents+;no-resumed+;\
                   memory-tagging+;xmlRegisters=i386";
const LLDB: &str = "qSupported:xmlRegisters=i386,arm,mips,arc;multiprocess+;fork-events+;\
                    vfork-events+";

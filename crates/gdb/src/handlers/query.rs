//! Abilities of client and server, and where the kernel lies.

use super::Family;
use crate::packet::PACKET_BYTES;
use crate::reply::Reply;
use crate::session::{Client, Session};

pub(super) const PACKETS: Family = &[
    ("qSupported", supported),
    ("QStartNoAckMode", no_ack),
    ("QEnableErrorStrings", |_, _| Reply::ok()),
    ("!", extended),
    ("qOffsets", offsets),
    // No trace experiment can run.
    ("qTStatus", |_, _| Reply::unsupported()),
    ("qAttached", |_, _| Reply::text("1")),
    ("vMustReplyEmpty", |_, _| Reply::unsupported()),
];

fn supported(session: &mut Session, features: &[u8]) -> Reply {
    let features = features.strip_prefix(b":").unwrap_or(features);
    let features: Vec<&[u8]> = features.split(|byte| *byte == b';').collect();
    let has = |name: &str| features.contains(&name.as_bytes());
    session.agreed.multiprocess = has("multiprocess+");
    session.agreed.error_message = has("error-message+");
    // lldb lists architectures that gdb does not have; gdb tells of breakpoints.
    if has("swbreak+") {
        session.client = Client::Gdb;
    } else if features.iter().any(|feature| feature.starts_with(b"xmlRegisters=i386,arm")) {
        session.client = Client::Lldb;
    }
    let mut answer = format!(
        "PacketSize={PACKET_BYTES:x};QStartNoAckMode+;qXfer:features:read+;\
         qXfer:threads:read+;qXfer:auxv:read+;qXfer:exec-file:read+;qXfer:libraries:read+;\
         qXfer:osdata:read+;vContSupported+"
    );
    // lldb 19 finds out by itself, and means another form of answer.
    if session.client != Client::Lldb {
        answer.push_str(";binary-upload+;qXfer:libraries-svr4:read+");
    }
    if session.agreed.multiprocess {
        answer.push_str(";multiprocess+");
    }
    if let Some(control) = session.target.control() {
        if control.breakpoints().is_some() {
            session.agreed.breakpoint_stops = has("swbreak+");
            answer.push_str(";swbreak+;hwbreak+");
        }
        if control.replay().is_some() {
            answer.push_str(";ReverseStep+;ReverseContinue+");
        }
    }
    Reply::text(answer)
}

fn no_ack(session: &mut Session, _: &[u8]) -> Reply {
    session.agreed.no_ack = true;
    Reply::ok()
}

fn extended(session: &mut Session, _: &[u8]) -> Reply {
    session.agreed.extended = true;
    session.inferiors = session.target.extended_inferiors();
    session.selected = None;
    Reply::ok()
}

/// gdb moves all of a file with its first segment, read-only data included, but
/// not with `Text`, `Data` and `Bss`; lldb knows only these.
fn offsets(session: &mut Session, _: &[u8]) -> Reply {
    let slide = session.current().and_then(|current| current.inferior.slide());
    let Some(slide) = slide else { return Reply::unsupported() };
    let offset = slide.offset;
    match session.client {
        Client::Lldb => Reply::text(format!("Text={offset:x};Data={offset:x};Bss={offset:x}")),
        _ => Reply::text(format!("TextSeg={:x}", slide.text)),
    }
}

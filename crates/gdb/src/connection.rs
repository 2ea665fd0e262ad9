//! One client: bytes in, bytes out.

use std::io::{self, Read, Write};

use crate::packet::{Decoder, Incoming, encode};
use crate::session::Session;

/// Answers a client until it leaves or sends no more.
pub(crate) fn serve(
    mut session: Session<'_>,
    input: &mut dyn Read,
    output: &mut dyn Write,
) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut last = Vec::new();
    let mut bytes = vec![0; 4096];
    while !session.has_ended() {
        let got = match input.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in bytes.get(..got).unwrap_or_default() {
            if let Some(incoming) = decoder.push(*byte) {
                let out = answer(&mut session, &mut decoder, &mut last, incoming);
                output.write_all(&out)?;
                output.flush()?;
            }
        }
    }
    Ok(())
}

/// What goes out for what came in; `last` is what a client may ask for again.
fn answer(
    session: &mut Session<'_>,
    decoder: &mut Decoder,
    last: &mut Vec<u8>,
    incoming: Incoming,
) -> Vec<u8> {
    let acknowledges = !session.is_without_acks();
    match incoming {
        Incoming::Packet(packet) => {
            let reply = session.handle(&packet);
            let mut out = if acknowledges { b"+".to_vec() } else { Vec::new() };
            last.clear();
            for console in session.take_console() {
                last.extend(encode(&console));
            }
            last.extend(encode(reply.payload()));
            out.extend_from_slice(last);
            if session.is_without_acks() {
                decoder.trust_sums();
            }
            out
        }
        Incoming::Damaged if acknowledges => b"-".to_vec(),
        // The client waits for an answer and will not ask again.
        Incoming::Damaged => encode(b"E16"),
        Incoming::Nak if acknowledges => last.clone(),
        // Nothing runs that could be interrupted.
        Incoming::Ack | Incoming::Nak | Incoming::Interrupt => Vec::new(),
    }
}

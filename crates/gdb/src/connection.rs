//! One client: bytes in, bytes out.

use std::io::{self, Read, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::{self, Scope, ScopedJoinHandle};

use crate::packet::{Decoder, Incoming, encode};
use crate::reply::Reply;
use crate::session::{Outcome, Running, Session};

/// A conversation with a client.
struct Talk<'c> {
    session: Session,
    output: &'c mut (dyn Write + Send),
    /// The last packet, which a client may ask for again.
    last: Vec<u8>,
}

/// Waits for what runs, while the client is still listened to.
type Waiter<'scope> = Option<ScopedJoinHandle<'scope, io::Result<()>>>;

/// Answers a client until it leaves or sends no more. What it has let run is stopped then.
pub(crate) fn serve(
    session: Session,
    input: &mut dyn Read,
    output: &mut (dyn Write + Send),
) -> io::Result<()> {
    let talk = Mutex::new(Talk { session, output, last: Vec::new() });
    thread::scope(|scope| {
        let mut waiter = None;
        let listened = listen(scope, &talk, input, &mut waiter);
        lock(&talk).session.interrupt();
        listened.and(join(&mut waiter))
    })
}

/// Hears what a client sends, until its end.
fn listen<'scope>(
    scope: &'scope Scope<'scope, '_>,
    talk: &'scope Mutex<Talk<'_>>,
    input: &mut dyn Read,
    waiter: &mut Waiter<'scope>,
) -> io::Result<()> {
    let mut decoder = Decoder::default();
    let mut bytes = vec![0; 4096];
    while !lock(talk).session.has_ended() {
        let got = match input.read(&mut bytes) {
            Ok(0) => return Ok(()),
            Ok(got) => got,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in bytes.get(..got).unwrap_or_default() {
            let Some(incoming) = decoder.push(*byte) else { continue };
            if !hears_while_running(talk, &incoming, waiter)? {
                continue;
            }
            let mut talking = lock(talk);
            if let Some(running) = talking.answer(incoming)? {
                join(waiter)?;
                *waiter = Some(scope.spawn(move || wait(talk, &running)));
            }
            if talking.session.is_without_acks() {
                decoder.trust_sums();
            }
        }
    }
    Ok(())
}

/// Bytes that come while something runs stop it, acknowledgements apart; whether it is to be
/// answered. A debugger sends an interrupt alone. For a packet, the stop is told first.
fn hears_while_running(
    talk: &Mutex<Talk<'_>>,
    incoming: &Incoming,
    waiter: &mut Waiter<'_>,
) -> io::Result<bool> {
    let talking = lock(talk);
    if !talking.session.is_running() {
        return Ok(true);
    }
    match incoming {
        Incoming::Ack | Incoming::Nak => Ok(false),
        Incoming::Interrupt => {
            talking.session.interrupt();
            Ok(false)
        }
        Incoming::Packet(_) | Incoming::Damaged => {
            talking.session.interrupt();
            drop(talking);
            join(waiter).map(|()| true)
        }
    }
}

/// Tells the client when what runs has stopped.
fn wait(talk: &Mutex<Talk<'_>>, running: &Running) -> io::Result<()> {
    let stop = running.wait();
    let mut talk = lock(talk);
    let reply = match stop {
        Ok(stop) => talk.session.stopped(&stop),
        Err(why) => talk.session.lost(&why),
    };
    talk.say(Vec::new(), &reply)
}

fn join(waiter: &mut Waiter<'_>) -> io::Result<()> {
    let Some(waiter) = waiter.take() else { return Ok(()) };
    let fault = |_| Err(io::Error::other("what runs could not be waited for by a fault of ours"));
    waiter.join().unwrap_or_else(fault)
}

fn lock<'t, 'c>(talk: &'t Mutex<Talk<'c>>) -> MutexGuard<'t, Talk<'c>> {
    talk.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Talk<'_> {
    /// Answers what came in; what runs from now on is to be waited for.
    fn answer(&mut self, incoming: Incoming) -> io::Result<Option<Running>> {
        let acknowledges = !self.session.is_without_acks();
        match incoming {
            Incoming::Packet(packet) => {
                let ack = if acknowledges { b"+".to_vec() } else { Vec::new() };
                match self.session.handle(&packet) {
                    Outcome::Reply(reply) => self.say(ack, &reply)?,
                    Outcome::Running(running) => {
                        self.send(&ack)?;
                        return Ok(Some(running));
                    }
                }
            }
            Incoming::Damaged if acknowledges => self.send(b"-")?,
            // The client waits for an answer and will not ask again.
            Incoming::Damaged => self.send(&encode(b"E16"))?,
            Incoming::Nak if acknowledges => {
                self.output.write_all(&self.last)?;
                self.output.flush()?;
            }
            // Nothing runs that could be interrupted.
            Incoming::Ack | Incoming::Nak | Incoming::Interrupt => {}
        }
        Ok(None)
    }

    /// An answer, what goes to the console before it.
    fn say(&mut self, mut out: Vec<u8>, reply: &Reply) -> io::Result<()> {
        self.last.clear();
        for console in self.session.take_console() {
            self.last.extend(encode(&console));
        }
        self.last.extend(encode(reply.payload()));
        out.extend_from_slice(&self.last);
        self.send(&out)
    }

    fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.output.write_all(bytes)?;
        self.output.flush()
    }
}

//! Listening, and a thread for each client.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
#[cfg(unix)]
use std::os::unix::net::{UnixListener, UnixStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use thiserror::Error;

use crate::connection;
use crate::session::Session;
use crate::target::{Monitor, Target};

/// If more come, one that has said nothing yet goes for each; without such, they are
/// turned away.
const MOST_CLIENTS: usize = 64;

/// Where to listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Bind {
    /// TCP.
    Tcp(SocketAddr),
    /// A socket in the file system, only for its owner.
    Unix(PathBuf),
}

/// Why a server cannot listen.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The address is taken, or not available.
    #[error("cannot listen on {place}")]
    Listen {
        /// The address.
        place: String,
        /// The error of the operating system.
        source: io::Error,
    },
    /// This system has no such sockets.
    #[error("this system has no Unix sockets")]
    NoUnixSockets,
}

/// Serves a target to whoever connects.
pub struct Server {
    target: Arc<dyn Target>,
    monitor: Arc<dyn Monitor>,
}

/// A server that listens, and how it is stopped.
#[derive(Debug)]
pub struct Listening {
    listener: Listener,
    is_asked: AtomicBool,
    /// In the order in which they came.
    clients: Mutex<Vec<Client>>,
    next: AtomicUsize,
}

/// A client that is connected.
#[derive(Debug)]
struct Client {
    number: usize,
    stream: Stream,
    has_spoken: Arc<AtomicBool>,
}

#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix(UnixListener, PathBuf),
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    #[cfg(unix)]
    Unix(UnixStream),
}

impl Listening {
    /// Starts to listen. A socket in the file system is removed when this is
    /// dropped.
    pub fn bind(to: &Bind) -> Result<Self, ServerError> {
        let failed = |place: String| move |source| ServerError::Listen { place, source };
        let listener = match to {
            Bind::Tcp(address) => {
                Listener::Tcp(TcpListener::bind(address).map_err(failed(address.to_string()))?)
            }
            #[cfg(unix)]
            Bind::Unix(path) => Listener::Unix(
                bind_private(path).map_err(failed(path.display().to_string()))?,
                path.clone(),
            ),
            #[cfg(not(unix))]
            Bind::Unix(_) => return Err(ServerError::NoUnixSockets),
        };
        Ok(Self {
            listener,
            is_asked: AtomicBool::new(false),
            clients: Mutex::default(),
            next: AtomicUsize::new(0),
        })
    }

    /// The address, where the system chose the port.
    pub fn address(&self) -> Option<SocketAddr> {
        match &self.listener {
            Listener::Tcp(listener) => listener.local_addr().ok(),
            #[cfg(unix)]
            Listener::Unix(..) => None,
        }
    }

    /// Ends all connections and makes [`Server::run`] return.
    pub fn stop(&self) {
        self.is_asked.store(true, Ordering::SeqCst);
        if let Ok(clients) = self.clients.lock() {
            clients.iter().for_each(|client| client.stream.shut_down());
        }
        // What waits for a client gets one.
        match &self.listener {
            Listener::Tcp(listener) => {
                if let Ok(mut address) = listener.local_addr() {
                    if address.ip().is_unspecified() {
                        address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
                    }
                    drop(TcpStream::connect(address));
                }
            }
            #[cfg(unix)]
            Listener::Unix(_, path) => drop(UnixStream::connect(path)),
        }
    }

    fn accept(&self) -> io::Result<Stream> {
        match &self.listener {
            Listener::Tcp(listener) => {
                let (stream, _) = listener.accept()?;
                // Packets are small and each waits for its answer.
                stream.set_nodelay(true)?;
                Ok(Stream::Tcp(stream))
            }
            #[cfg(unix)]
            Listener::Unix(listener, _) => Ok(Stream::Unix(listener.accept()?.0)),
        }
    }

    /// Remembers a client; `None` if there are too many or the end has come.
    fn enter(&self, stream: Stream) -> Option<Visit<'_>> {
        let mut clients = self.clients.lock().ok()?;
        if self.is_asked.load(Ordering::SeqCst) {
            return None;
        }
        if clients.len() >= MOST_CLIENTS {
            let is_silent = |client: &Client| !client.has_spoken.load(Ordering::Relaxed);
            let oldest = clients.iter().position(is_silent)?;
            clients.remove(oldest).stream.shut_down();
        }
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let has_spoken = Arc::new(AtomicBool::new(false));
        clients.push(Client {
            number,
            stream: stream.try_clone().ok()?,
            has_spoken: Arc::clone(&has_spoken),
        });
        Some(Visit { listening: self, number, stream, has_spoken })
    }
}

/// A client's place among the others, which is free again when this goes, however that
/// comes about.
struct Visit<'s> {
    listening: &'s Listening,
    number: usize,
    stream: Stream,
    has_spoken: Arc<AtomicBool>,
}

impl Drop for Visit<'_> {
    fn drop(&mut self) {
        // First: whoever has seen that we hang up finds a free place.
        if let Ok(mut clients) = self.listening.clients.lock() {
            clients.retain(|client| client.number != self.number);
        }
        self.stream.shut_down();
    }
}

/// Bytes from a client; notes when they are a packet.
struct Heard<'h, R> {
    input: R,
    has_spoken: &'h AtomicBool,
}

impl<R: Read> Read for Heard<'_, R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(buf)?;
        if buf.iter().take(got).any(|byte| *byte == b'#') {
            self.has_spoken.store(true, Ordering::Relaxed);
        }
        Ok(got)
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        #[cfg(unix)]
        if let Listener::Unix(_, path) = &self.listener {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// A socket that nobody else may connect to. One that a server left behind is
/// replaced; one that a server listens on, or another kind of file, is not.
#[cfg(unix)]
fn bind_private(path: &std::path::Path) -> io::Result<UnixListener> {
    use std::os::unix::fs::FileTypeExt;

    use rustix::fs::Mode;
    use rustix::process::umask;

    let is_socket =
        std::fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket());
    if is_socket && UnixStream::connect(path).is_err() {
        std::fs::remove_file(path)?;
    }
    // Not afterwards: until then others could connect.
    let before = umask(Mode::from_raw_mode(0o177));
    let listener = UnixListener::bind(path);
    umask(before);
    listener
}

impl Stream {
    fn try_clone(&self) -> io::Result<Self> {
        Ok(match self {
            Self::Tcp(stream) => Self::Tcp(stream.try_clone()?),
            #[cfg(unix)]
            Self::Unix(stream) => Self::Unix(stream.try_clone()?),
        })
    }

    fn shut_down(&self) {
        // One that is gone already needs none.
        let _ = match self {
            Self::Tcp(stream) => stream.shutdown(std::net::Shutdown::Both),
            #[cfg(unix)]
            Self::Unix(stream) => stream.shutdown(std::net::Shutdown::Both),
        };
    }
}

impl Server {
    /// A server of this target.
    pub fn new(target: Arc<dyn Target>, monitor: Arc<dyn Monitor>) -> Self {
        Self { target, monitor }
    }

    /// Answers clients, as many at a time as come, until [`Listening::stop`] is called.
    pub fn run(&self, listening: &Listening) {
        thread::scope(|scope| {
            while !listening.is_asked.load(Ordering::SeqCst) {
                let Ok(stream) = listening.accept() else {
                    // Out of descriptors, most likely: do not spin.
                    thread::sleep(std::time::Duration::from_millis(50));
                    continue;
                };
                let Some(visit) = listening.enter(stream) else { continue };
                // If there is no thread for it, the visit ends here. A client that is
                // gone is no matter of ours.
                let _ = thread::Builder::new().spawn_scoped(scope, move || self.talk(&visit));
            }
        });
    }

    fn talk(&self, visit: &Visit<'_>) -> io::Result<()> {
        let has_spoken = &*visit.has_spoken;
        match &visit.stream {
            Stream::Tcp(stream) => {
                self.serve(&mut Heard { input: stream, has_spoken }, &mut &*stream)
            }
            #[cfg(unix)]
            Stream::Unix(stream) => {
                self.serve(&mut Heard { input: stream, has_spoken }, &mut &*stream)
            }
        }
    }

    /// Answers one client until it leaves. A fault of ours ends its session and no other.
    pub fn serve(&self, input: &mut dyn Read, output: &mut (dyn Write + Send)) -> io::Result<()> {
        let session = || {
            let session = Session::new(self.target.clone(), self.monitor.clone());
            connection::serve(session, input, output)
        };
        // Nothing of the session is looked at afterwards.
        catch_unwind(AssertUnwindSafe(session)).unwrap_or_else(|_| {
            Err(io::Error::other("the session ended by a fault of the program"))
        })
    }
}

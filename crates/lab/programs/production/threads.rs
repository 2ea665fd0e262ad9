//! Threads of Rust that sleep in the kernel, each below named functions.

use std::io::Read;
use std::os::unix::net::UnixStream;
use std::sync::{Condvar, Mutex};
use std::thread;
use std::time::Duration;

#[inline(never)]
fn rust_sleep_deep(depth: u32) -> u32 {
    if depth > 0 {
        return rust_sleep_deep(depth - 1) + depth;
    }
    loop {
        thread::sleep(Duration::from_secs(86400));
    }
}

#[inline(never)]
fn rust_wait(depth: u32) -> u32 {
    if depth > 0 {
        return rust_wait(depth - 1) + depth;
    }
    let (mutex, condition) = (Mutex::new(()), Condvar::new());
    let guard = mutex.lock().unwrap();
    drop(condition.wait(guard).unwrap());
    depth
}

#[inline(never)]
fn rust_read(depth: u32) -> u32 {
    if depth > 0 {
        return rust_read(depth - 1) + depth;
    }
    let (mut one, _other) = UnixStream::pair().unwrap();
    one.read(&mut [0]).unwrap() as u32
}

fn main() {
    for (name, body) in [
        ("rust-sleep", rust_sleep_deep as fn(u32) -> u32),
        ("rust-wait", rust_wait),
        ("rust-read", rust_read),
    ] {
        for _ in 0..2 {
            thread::Builder::new().name(name.into()).spawn(move || body(3)).unwrap();
        }
    }
    thread::sleep(Duration::from_millis(500));
    println!("up");
    rust_sleep_deep(5);
}

//! The `Linux version ...` line that every kernel carries in its constants.
//!
//! The same words lie elsewhere too: in leftovers of the compressed kernel, in
//! the log buffer, in format strings. Only a line that ends in a line feed and a
//! NUL, within the image, is `linux_banner` (init/version.c); since 6.2 (and in
//! stable releases of 6.1) an unfinished copy without the build's number lies
//! before it.

use std::ops::ControlFlow;

use memchr::memmem;
use vmss2core_mem::{Found, Gva};

use super::image::Image;

const START: &[u8] = b"Linux version ";
/// Compiler and builder are named in the line, but nobody writes a novel.
const LONGEST: usize = 1024;

/// Finds the banner in the image.
pub(super) fn find(image: &Image) -> Option<Found<String>> {
    let (gva, line) = image.scan(LONGEST, &mut |gva, bytes| match find_in(bytes) {
        Some((at, line)) => ControlFlow::Break((Gva(gva.0.saturating_add(at as u64)), line)),
        None => ControlFlow::Continue(()),
    })?;
    Some(Found::new(line, format!("linux_banner at virtual {gva} in the kernel image")))
}

/// The first banner in some bytes, with its position.
pub(super) fn find_in(bytes: &[u8]) -> Option<(usize, String)> {
    memmem::find_iter(bytes, START).find_map(|at| Some((at, line(bytes.get(at..)?)?)))
}

/// Release, as `uname -r`: the word after "Linux version".
pub(super) fn release(banner: &str) -> Option<&str> {
    banner.strip_prefix("Linux version ")?.split(' ').next().filter(|word| !word.is_empty())
}

fn line(bytes: &[u8]) -> Option<String> {
    let head = bytes.get(..LONGEST.min(bytes.len()))?;
    let len = memchr::memchr(b'\n', head)?;
    let (line, rest) = head.split_at(len);
    // Compilers name themselves in the builder's language, in whatever encoding.
    let text = String::from_utf8_lossy(line);
    (!text.contains(char::is_control)).then_some(())?;
    let words = text.strip_prefix("Linux version ")?;
    (rest.get(1) == Some(&0) && begins_with_version(words) && has_build_number(words))
        .then(|| text.clone().into_owned())
}

/// `#1`, with which UTS_VERSION begins.
fn has_build_number(text: &str) -> bool {
    text.split(" #").skip(1).any(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// A number, a dot, and the start of another number.
fn begins_with_version(text: &str) -> bool {
    let Some((major, rest)) = text.split_once('.') else { return false };
    !major.is_empty()
        && major.bytes().all(|byte| byte.is_ascii_digit())
        && rest.starts_with(|first: char| first.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    const BANNER: &str = "Linux version 6.1.0-50-cloud-amd64 (a@b) (gcc-12) #1 SMP Debian";

    #[test]
    fn the_banner_is_found_among_decoys() {
        let mut bytes = b"Linux version %s (%s)\n\0 Linux version 6.1.0-...@\x04\x01\n\0".to_vec();
        bytes.extend_from_slice(b"Linux version 6.1.0-50-cloud-amd64 (in the log) #1\0");
        bytes.extend_from_slice(b"Linux version 6.1\n\0");
        bytes.extend_from_slice(b"Linux version 6.1.0-50-cloud-amd64 (a@b) (gcc-12) # SMP\n\0");
        let at = bytes.len();
        bytes.extend_from_slice(format!("{BANNER}\n\0").as_bytes());
        assert_eq!(find_in(&bytes), Some((at, BANNER.to_owned())));
        assert_eq!(release(BANNER), Some("6.1.0-50-cloud-amd64"));
    }

    #[test]
    fn the_builder_may_write_its_own_language() {
        let head = b"Linux version 2.6.20.1 (a@b) (gcc versi";
        for letter in [&b"\xf3"[..], b"\xc3\xb3"] {
            let line = [&head[..], letter, b" 4.2.4) #3 PREEMPT\n\0"].concat();
            let (at, banner) = find_in(&line).unwrap();
            assert_eq!((at, release(&banner)), (0, Some("2.6.20.1")));
            let escape = [&head[..], letter, b"\xc2\x9b 4.2.4) #3 PREEMPT\n\0"].concat();
            assert_eq!(find_in(&escape), None);
        }
    }

    #[test]
    fn a_banner_cut_off_is_none() {
        let whole = format!("{BANNER}\n\0");
        for len in 0..whole.len() {
            assert_eq!(find_in(&whole.as_bytes()[..len]), None, "{len}");
        }
    }
}
